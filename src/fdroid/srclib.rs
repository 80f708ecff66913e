//! What one file of `srclibs/` says.

use serde::Serialize;

use super::Marks;
use super::fields::repo_type_problem;
use super::problem::Problem;
use super::text::shown;
use super::update_check::REPO_TYPES;
use super::yaml::{Data, Node};
use crate::finding::Code;

/// The repository that a `srclib` app's `Repo` names, as `metadata.parse_yaml_srclib` reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Srclib {
    /// Where the source is; `""` where absent.
    pub repo: String,
    /// `git`, `git-svn`, `svn`, `hg` or `bzr`; `""` where absent.
    pub repo_type: String,
    /// Where the two stand.
    #[serde(skip)]
    pub marks: Marks,
}

impl Srclib {
    /// The srclib that a file's content is.
    ///
    /// # Errors
    /// What is no mapping, or has another key than fdroidserver's four.
    pub fn of(root: Option<&Node<'_>>) -> Result<Self, Box<Problem>> {
        let Some(Node { data: Data::Map(entries), .. }) = root else {
            return Err(Box::new(Problem::new(
                Code::FieldType,
                root.map(|node| node.span),
                "a srclib must be a mapping of fields",
                "write `RepoType` and `Repo`",
            )));
        };
        let mut srclib =
            Self { repo: String::new(), repo_type: String::new(), marks: Marks::default() };
        for (key, node) in entries {
            match &*key.value.key() {
                "Repo" => {
                    srclib.repo = text("Repo", node)?;
                    srclib.marks.repo = Some(node.span);
                }
                "RepoType" => {
                    srclib.repo_type = text("RepoType", node)?;
                    srclib.marks.repo_type = Some(node.span);
                    let known = REPO_TYPES.contains(&&*srclib.repo_type);
                    if !known && !srclib.repo_type.is_empty() {
                        return Err(Box::new(repo_type_problem(&srclib.repo_type, node.span)));
                    }
                }
                "Subdir" | "Prepare" => {}
                _ => {
                    return Err(Box::new(Problem::new(
                        Code::FieldUnknown,
                        key.span,
                        format!("a srclib has no field `{}`", shown(&key.value.python_str())),
                        "use `RepoType`, `Repo`, `Subdir` and `Prepare`",
                    )));
                }
            }
        }
        Ok(srclib)
    }
}

/// Python's `str(v or '')`: here nothing is normalised.
fn text(name: &str, node: &Node<'_>) -> Result<String, Box<Problem>> {
    match &node.data {
        Data::Scalar(scalar) if scalar.value.truthy() => Ok(scalar.value.python_str().into_owned()),
        _ if !node.truthy() => Ok(String::new()),
        _ => Err(Box::new(Problem::new(
            Code::FieldType,
            node.span,
            format!("`{name}` must be a text, found {}", node.kind()),
            "write a text",
        ))),
    }
}
