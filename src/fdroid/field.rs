//! The names and the types of fields and flags, as fdroidserver's `metadata.py` has them.

/// The types of fields and flags (`metadata.TYPE_*`). A script is a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A text; also what an unknown name is taken for.
    Text,
    /// True or false: anything will do.
    Bool,
    /// A list of texts, or one text for a list of one.
    List,
    /// A text that `post_parse_yaml_metadata` does not look at.
    Lines,
    /// The list of builds.
    Builds,
    /// An integer.
    Int,
    /// Names with descriptions, perhaps in several languages.
    TextMap,
}

/// The fields of an app (`metadata.yaml_app_fields`).
#[rustfmt::skip]
pub(crate) const FIELDS: [&str; 38] = [
    "Disabled", "AntiFeatures", "Categories", "License", "AuthorName", "AuthorEmail",
    "AuthorWebSite", "WebSite", "SourceCode", "IssueTracker", "Translation", "Changelog", "Donate",
    "Liberapay", "OpenCollective", "Bitcoin", "Litecoin", "Name", "AutoName", "Summary",
    "Description", "RequiresRoot", "RepoType", "Repo", "Binaries", "Builds",
    "AllowedAPKSigningKeys", "MaintainerNotes", "ArchivePolicy", "AutoUpdateMode",
    "UpdateCheckMode", "UpdateCheckIgnore", "VercodeOperation", "UpdateCheckName",
    "UpdateCheckData", "CurrentVersion", "CurrentVersionCode", "NoSourceSince",
];

/// The flags of a build (`metadata.build_flags`).
#[rustfmt::skip]
pub(crate) const FLAGS: [&str; 35] = [
    "versionName", "versionCode", "disable", "commit", "timeout", "subdir", "submodules", "sudo",
    "init", "patch", "gradle", "maven", "output", "binary", "srclibs", "oldsdkloc", "encoding",
    "forceversion", "forcevercode", "rm", "extlibs", "prebuild", "androidupdate", "target",
    "scanignore", "scandelete", "build", "buildjni", "ndk", "preassemble", "gradleprops",
    "antcommands", "postbuild", "novcheck", "antifeatures",
];

/// The type of an app's field (`metadata.fieldtype`).
#[must_use]
pub(crate) fn field_type(name: &str) -> Type {
    match name {
        "Description" | "MaintainerNotes" => Type::Lines,
        "Categories" | "AllowedAPKSigningKeys" | "VercodeOperation" => Type::List,
        "AntiFeatures" => Type::TextMap,
        "RequiresRoot" => Type::Bool,
        "Builds" => Type::Builds,
        "CurrentVersionCode" | "ArchivePolicy" => Type::Int,
        _ if name.contains(' ') => field_type(&name.replace(' ', "")),
        _ => Type::Text,
    }
}

/// The type of a build's flag (`metadata.flagtype`).
#[must_use]
pub(crate) fn flag_type(name: &str) -> Type {
    match name {
        "versionCode" | "timeout" => Type::Int,
        "extlibs" | "srclibs" | "patch" | "rm" | "buildjni" | "preassemble" | "androidupdate"
        | "scanignore" | "scandelete" | "gradle" | "antcommands" | "gradleprops" | "sudo"
        | "init" | "prebuild" | "build" | "postbuild" => Type::List,
        "submodules" | "oldsdkloc" | "forceversion" | "forcevercode" | "novcheck" => Type::Bool,
        "antifeatures" => Type::TextMap,
        _ => Type::Text,
    }
}

/// Which of the known fields `name` is.
#[must_use]
pub(crate) fn field_index(name: &str) -> Option<usize> {
    FIELDS.iter().position(|known| *known == name)
}

/// Which of the known flags `name` is.
#[must_use]
pub(crate) fn flag_index(name: &str) -> Option<usize> {
    FLAGS.iter().position(|known| *known == name)
}

/// Whether a [`super::fields::Draft`] looks at the field's value for more than its type.
#[must_use]
pub(crate) fn is_wanted_field(name: &str) -> bool {
    matches!(
        name,
        "Repo"
            | "RepoType"
            | "UpdateCheckMode"
            | "Disabled"
            | "AutoUpdateMode"
            | "CurrentVersion"
            | "UpdateCheckData"
            | "UpdateCheckName"
            | "UpdateCheckIgnore"
            | "ArchivePolicy"
            | "CurrentVersionCode"
            | "VercodeOperation"
            | "Builds"
            | "NoSourceSince"
            | "AntiFeatures"
    )
}

/// Whether a [`super::fields::Draft`] looks at the flag's value for more than its type.
#[must_use]
pub(crate) fn is_wanted_flag(name: &str) -> bool {
    matches!(name, "versionCode" | "timeout" | "versionName" | "disable" | "commit")
}
