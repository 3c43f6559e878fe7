//! The code blocks of the pages, with the marks that say what the tests do with each.
//!
//! | block | meaning |
//! |---|---|
//! | `yaml` | manifests that the API server accepts as they stand |
//! | `yaml fragment` | a part of a manifest or of a status |
//! | `yaml foreign` | manifests of kinds that the tests' API server does not have |
//! | `sh` | commands that a test runs |
//! | `sh not-run` | commands that no test runs |
//! | `console`, `text`, `promql` | what a terminal shows, other text, an expression of Prometheus |

use std::{fs, path::Path};

/// A code block of a page.
#[derive(Clone, Debug)]
pub struct Block {
    /// The page and the line where it begins.
    pub place: String,
    pub language: String,
    /// What follows the language.
    pub mark: String,
    pub text: String,
}

impl Block {
    pub fn is(&self, language: &str, mark: &str) -> bool {
        self.language == language && self.mark == mark
    }

    /// The name of the file that the block is, when its first line says so: `# reset.yaml`.
    pub fn file(&self) -> Option<&str> {
        self.text.lines().next()?.strip_prefix("# ").filter(|name| has_extension(name, "yaml") && !name.contains(' '))
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// All pages of the site that are written by hand or generated from code: README.md and docs, by their paths from the root.
pub fn pages(root: &Path) -> Vec<String> {
    let mut found = vec!["README.md".to_owned()];
    collect(root, "docs", &mut found);
    found.sort();
    found
}

fn collect(root: &Path, folder: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, found);
        } else if has_extension(&path, "md") {
            found.push(path);
        }
    }
}

/// The code blocks of a page, in their order.
pub fn blocks(root: &Path, page: &str) -> Vec<Block> {
    let text = fs::read_to_string(root.join(page)).unwrap();
    let mut found = vec![];
    let mut open: Option<(usize, Block)> = None;
    for (index, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => {
                let (language, mark) = info.split_once(' ').unwrap_or((info, ""));
                let (language, mark) = (language.to_owned(), mark.to_owned());
                open = Some((indent, Block { place: format!("{page}:{}", index + 1), language, mark, text: String::new() }));
            }
            (Some(_), Some("")) => found.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), _) => {
                block.text += line.get(*indent..).unwrap_or("");
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a code block does not end");
    found
}
