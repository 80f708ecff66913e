//! Which words of a command another program takes apart: a shell, or an interpreter.
//!
//! No property may stand in such a word, whatever its type: what is put in would be code. It can
//! follow as a word of its own (`["sh", "-c", "build \"$0\"", "{app}"]`).

/// Programs that take the first word behind their options as code, and the letter of the option
/// that says so, alone or among others (`-ec`, `-ce`).
const INTERPRETERS: &[(&str, &str)] = &[
    ("ash", "c"),
    ("bash", "c"),
    ("csh", "c"),
    ("dash", "c"),
    ("fish", "c"),
    ("ksh", "c"),
    ("mksh", "c"),
    ("node", "ep"),
    ("perl", "eE"),
    ("php", "r"),
    ("python", "c"),
    ("python3", "c"),
    ("rbash", "c"),
    ("ruby", "e"),
    ("sed", "e"),
    ("sh", "c"),
    ("tcsh", "c"),
    ("zsh", "c"),
];

/// The same, but that the option can stand behind a user, a file or another program.
const WRAPPERS: &[(&str, &str)] =
    &[("env", "S"), ("runuser", "c"), ("script", "c"), ("sg", "c"), ("su", "c")];

/// Programs of which every later word is code, or becomes a part of some.
const ALL_WORDS: &[&str] = &["awk", "eval", "gawk", "mawk", "ssh"];

/// Long options whose value is code.
const LONG: &[&str] =
    &["--command", "--eval", "--expression", "--print", "--session-command", "--split-string"];

/// The program that takes the word at `index` of `words` apart, if one does.
pub(super) fn taken_apart_by(words: &[String], index: usize) -> Option<&str> {
    let before = words.get(..index)?.iter().enumerate();
    let named = before.map(|(at, word)| (at, word.rsplit('/').next().unwrap_or_default()));
    named
        .rev()
        .find(|(at, name)| takes_apart(name, words.get(at + 1..=index).unwrap_or_default()))
        .map(|(_, name)| name)
}

/// Whether the program `name` takes the last one of `words`, which follow it, as code.
fn takes_apart(name: &str, words: &[String]) -> bool {
    if ALL_WORDS.contains(&name) {
        return true;
    }
    let letters = |known: &[(&str, &'static str)]| {
        known.iter().find(|(program, _)| *program == name).map(|(_, letters)| *letters)
    };
    let wrapper = letters(WRAPPERS);
    let Some(letters) = letters(INTERPRETERS).or(wrapper) else { return false };
    let (mut is_code_next, mut is_value) = (false, false);
    for (i, word) in words.iter().enumerate() {
        let is_last = i + 1 == words.len();
        let option = word.split_once('=').map_or(word.as_str(), |(option, _)| option);
        if LONG.contains(&option) || is_cluster(word, letters) {
            // Some take what stands behind the letter in the same word.
            is_code_next = true;
        }
        // Options may still follow, `--` too; what comes then is code.
        if is_code_next && is_last {
            return true;
        }
        let is_option = word.starts_with(['-', '+']);
        if !is_option && !is_value && (is_code_next || wrapper.is_none()) {
            // The code was earlier, or it is in a file.
            return false;
        }
        // `-o pipefail`.
        is_value = is_option && word.ends_with(['o', 'O']);
    }
    false
}

/// Whether it is an option such as `-ec` with one of the `letters` in it.
fn is_cluster(word: &str, letters: &str) -> bool {
    let options = word.strip_prefix('-').filter(|options| !options.starts_with('-'));
    options.is_some_and(|options| options.contains(|c| letters.contains(c)))
}

#[cfg(test)]
mod tests {
    use super::taken_apart_by;

    #[test]
    fn what_a_shell_parses_is_known() {
        let cases = [
            (&["sh", "-c", "echo {x}"][..], 2, Some("sh")),
            (&["/bin/bash", "-euo", "pipefail", "-ec", "echo {x}"], 4, Some("bash")),
            (&["env", "A=b", "sh", "-lc", "{x}"], 4, Some("sh")),
            // As shells read it: options may follow, and end.
            (&["bash", "-ce", "{x}"], 2, Some("bash")),
            (&["bash", "-c", "-e", "{x}"], 3, Some("bash")),
            (&["sh", "-c", "--", "{x}"], 3, Some("sh")),
            (&["bash", "-c", "-o", "pipefail", "{x}"], 4, Some("bash")),
            (&["bash", "-c", "+x", "{x}"], 3, Some("bash")),
            (&["bash", "-c{x}"], 1, Some("bash")),
            (&["su", "-", "builder", "-c", "{x}"], 4, Some("su")),
            (&["su", "--command={x}"], 1, Some("su")),
            (&["su", "builder", "--command", "{x}"], 3, Some("su")),
            (&["runuser", "-u", "a", "--", "sh", "-c", "{x}"], 6, Some("sh")),
            (&["env", "-S", "sh -c {x}"], 2, Some("env")),
            (&["ssh", "host", "make", "{x}"], 3, Some("ssh")),
            (&["timeout", "5", "python3", "-Ic", "print('{x}')"], 4, Some("python3")),
            (&["perl", "-ne", "{x}"], 2, Some("perl")),
            (&["perl", "-ne{x}"], 1, Some("perl")),
            (&["node", "--eval={x}"], 1, Some("node")),
            // A word of its own, which the script has as `$0`, `$1`.
            (&["sh", "-c", "echo \"$0\"", "{x}"], 3, None),
            (&["sh", "-ec", "echo \"$1\"", "-c", "{x}"], 4, None),
            (&["bash", "-euo", "pipefail", "-c", "echo \"$0\"", "{x}"], 5, None),
            (&["sh", "build.sh", "{x}"], 2, None),
            (&["perl", "build.pl", "-verbose", "{x}"], 3, None),
            (&["fdroid", "build", "-v", "{x}"], 3, None),
            (&["git", "-c", "{x}"], 2, None),
            (&["echo", "-c", "{x}"], 2, None),
        ];
        for (words, index, program) in cases {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(taken_apart_by(&words, index), program, "{words:?}");
        }
    }
}
