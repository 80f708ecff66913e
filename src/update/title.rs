//! Texts of strangers, fit to stand in a commit's subject and a merge request's title.

/// The most characters of a name or version.
const LONGEST: usize = 80;

/// `text` in letters, digits and few other characters, none of which means anything to GitLab, to
/// Markdown or to a shell: no mention, no reference, no order, no option.
pub(super) fn plain(text: &str) -> String {
    let allowed = |c: char| c.is_alphanumeric() || " .,:+-_()".contains(c);
    let text: String = text.chars().map(|c| if allowed(c) { c } else { ' ' }).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(LONGEST).collect()
}
