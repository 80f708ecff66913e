//! Which words of a command another program takes apart: a shell, or an interpreter.
//!
//! No property may stand in such a word, whatever its type: what is put in would be code. It can
//! follow as a word of its own (`["sh", "-c", "build \"$0\"", "{app}"]`).

/// Programs that take the word behind an option as code, and that option's letter.
const INTERPRETERS: &[(&str, char)] = &[
    ("ash", 'c'),
    ("bash", 'c'),
    ("csh", 'c'),
    ("dash", 'c'),
    ("fish", 'c'),
    ("ksh", 'c'),
    ("mksh", 'c'),
    ("rbash", 'c'),
    ("runuser", 'c'),
    ("script", 'c'),
    ("sg", 'c'),
    ("sh", 'c'),
    ("su", 'c'),
    ("tcsh", 'c'),
    ("zsh", 'c'),
    ("python", 'c'),
    ("python3", 'c'),
    ("node", 'e'),
    ("perl", 'e'),
    ("perl", 'E'),
    ("php", 'r'),
    ("ruby", 'e'),
    ("sed", 'e'),
];

/// Programs of which every later word is code, or becomes a part of some.
const ALL_WORDS: &[&str] = &["awk", "eval", "gawk", "mawk", "ssh"];

/// Long options of interpreters whose value is code.
const LONG: &[&str] = &["--command", "--eval", "--expression", "--session-command"];

/// The program that takes the word at `index` of `words` apart, if one does.
pub(super) fn taken_apart_by<'w>(words: &'w [String], index: usize) -> Option<&'w str> {
    let (before, word) = (words.get(..index)?, words.get(index)?);
    let name = |word: &'w String| word.rsplit('/').next().unwrap_or_default();
    if let Some(program) = before.iter().map(name).find(|name| ALL_WORDS.contains(name)) {
        return Some(program);
    }
    let programs: Vec<&str> = before.iter().map(name).collect();
    let last = before.last()?;
    let is_code_of = |program: &&&str, option: &str| {
        INTERPRETERS.iter().any(|(interpreter, letter)| {
            interpreter == *program
                && option
                    .strip_prefix('-')
                    .is_some_and(|letters| !letters.starts_with('-') && letters.ends_with(*letter))
        })
    };
    let is_interpreter = |program: &&&str| INTERPRETERS.iter().any(|(name, _)| name == *program);
    let (option, value) = word.split_once('=').unwrap_or((word, ""));
    programs
        .iter()
        .rfind(|program| {
            // Behind `-c`, `-ec`, `--command`; in `--command=…`; in `-c…`, which some take too.
            is_code_of(program, last)
                || (is_interpreter(program) && LONG.contains(&last.as_str()))
                || (is_interpreter(program) && LONG.contains(&option) && !value.is_empty())
                || word.get(..2).is_some_and(|start| is_code_of(program, start)) && word.len() > 2
        })
        .copied()
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
            (&["bash", "-c{x}"], 1, Some("bash")),
            (&["su", "-", "builder", "-c", "{x}"], 4, Some("su")),
            (&["su", "--command={x}"], 1, Some("su")),
            (&["runuser", "-u", "a", "--", "sh", "-c", "{x}"], 6, Some("sh")),
            (&["ssh", "host", "make", "{x}"], 3, Some("ssh")),
            (&["python3", "-c", "print('{x}')"], 2, Some("python3")),
            (&["perl", "-ne", "{x}"], 2, Some("perl")),
            // A word of its own, which the script has as `$0`, `$1`.
            (&["sh", "-c", "echo \"$0\"", "{x}"], 3, None),
            (&["sh", "build.sh", "{x}"], 2, None),
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
