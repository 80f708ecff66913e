//! How an app's new versions are found, and where its source is kept.

/// What `UpdateCheckMode` asks for, as `checkupdates.checkupdates_app` takes it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateCheckMode {
    /// Never looked for.
    None,
    /// Never looked for: there will be none.
    Static,
    /// From a page that `UpdateCheckData` names.
    Http,
    /// From the repository's tags; of those, the ones that the Python pattern matches at its start.
    Tags(Option<String>),
    /// From the manifest in the repository's default branch, or in the one named.
    RepoManifest(Option<String>),
}

impl UpdateCheckMode {
    /// The mode that `text` is, or `None` where fdroidserver's check of the field
    /// (`metadata.valuetypes`) refuses it. An empty text passes that check and is refused by
    /// `checkupdates`; it is refused here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains('\n') {
            return None;
        }
        match text {
            "None" => Some(Self::None),
            "Static" => Some(Self::Static),
            "HTTP" => Some(Self::Http),
            "Tags" => Some(Self::Tags(None)),
            "RepoManifest" => Some(Self::RepoManifest(None)),
            _ => {
                let named = |name: &str| (!name.is_empty()).then(|| Some(name.to_owned()));
                if let Some(pattern) = text.strip_prefix("Tags ") {
                    named(pattern).map(Self::Tags)
                } else if let Some(branch) = text.strip_prefix("RepoManifest/") {
                    named(branch).map(Self::RepoManifest)
                } else {
                    None
                }
            }
        }
    }
}

/// The values of `RepoType` (`metadata.valuetypes`).
pub(crate) const REPO_TYPES: [&str; 6] = ["git", "git-svn", "svn", "hg", "bzr", "srclib"];
