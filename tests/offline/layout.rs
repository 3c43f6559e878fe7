//! How `src` and `plugin/src` are laid out: dependencies go one way, between folders and between files, and neither grows without
//! bound.
//!
//! Only `use` lines count. A name that a `mod.rs` re-exports counts as the file that defines it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;

/// The top-level modules, each of which may use only those before it.
const ORDER: [&str; 8] = ["api", "machine", "observability", "kafka", "kubernetes", "reconcile", "cli", "run"];

/// How many `.rs` files a folder may have.
const FILES: usize = 14;

/// How many lines a file may have.
const LINES: usize = 450;

/// Files that may be larger, each with the reason.
const LARGE: [(&str, &str); 6] = [
    ("src/api/reason.rs", "one list: each reason with its documentation"),
    ("src/api/status.rs", "mostly doc comments, which `kubectl explain` shows"),
    ("src/machine/tests/edges.rs", "one table of cases after the other"),
    ("tests/real/suites/equivalence.rs", "random cases in the words of both tools, and their comparison"),
    ("tests/real/suites/leader.rs", "ways to lose a lease, all on the same two operators"),
    ("tests/sandbox/src/supervisor.rs", "the command line of each part"),
];

static DECLARED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^(?:pub(?:\([a-z]+\))? )?mod (\w+);").unwrap());
static USED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^[ ]*(pub(?:\([a-z]+\))? )?use ([^;]+);").unwrap());

/// A module by its path from the crate's root; the root is empty.
type Module = Vec<String>;

/// The modules that have files of their own, without those for tests.
struct Sources {
    root: PathBuf,
    modules: BTreeMap<Module, Source>,
}

struct Source {
    path: PathBuf,
    /// The paths that its `use` lines name, from the crate's root on.
    uses: Vec<Module>,
    /// The names that it re-exports, and where they are defined.
    reexports: BTreeMap<String, Module>,
}

impl Sources {
    /// The operator's.
    fn read() -> Self {
        Self::below("src", "lib.rs")
    }

    /// The plugin's.
    fn of_the_plugin() -> Self {
        Self::below("plugin/src", "main.rs")
    }

    fn below(folder: &str, file: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut texts = BTreeMap::new();
        collect(&root, vec![], file, &mut texts);
        let known: BTreeSet<Module> = texts.keys().cloned().collect();
        let read = |(module, (path, text)): (Module, (PathBuf, String))| {
            let source = Source::parse(&module, path, &text, &known);
            (module, source)
        };
        Self { root, modules: texts.into_iter().map(read).collect() }
    }

    /// The module in whose file the item of a path is defined. Re-exports are followed.
    fn file_of(&self, path: &[String]) -> Option<&Module> {
        let mut path = path.to_vec();
        for _ in 0..10 {
            let (module, source) = (0..=path.len()).rev().find_map(|end| self.modules.get_key_value(&path[..end]))?;
            match path.get(module.len()).and_then(|name| source.reexports.get(name)) {
                Some(target) if *target != path => path.clone_from(target),
                Some(_) | None => return Some(module),
            }
        }
        panic!("{path:?} is re-exported in a circle");
    }

    /// Which file uses which others.
    fn edges(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        let others = |(module, source): (&'_ Module, &'_ Source)| -> BTreeSet<&Module> {
            source.uses.iter().filter_map(|path| self.file_of(path)).filter(|other| *other != module).collect()
        };
        self.modules.iter().map(|(module, source)| (module, others((module, source)))).collect()
    }

    fn shown(&self, module: &Module) -> String {
        self.modules[module].path.strip_prefix(&self.root).unwrap().display().to_string()
    }
}

/// Reads a module's file, and those of the modules that it declares.
fn collect(dir: &Path, module: Module, file: &str, texts: &mut BTreeMap<Module, (PathBuf, String)>) {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = without_tests(&text);
    let below =
        if ["lib.rs", "main.rs", "mod.rs"].contains(&file) { dir.to_owned() } else { dir.join(file.trim_end_matches(".rs")) };
    for found in DECLARED.captures_iter(&text) {
        let name = &found[1];
        let child = [module.clone(), vec![name.to_owned()]].concat();
        if below.join(name).join("mod.rs").is_file() {
            collect(&below.join(name), child, "mod.rs", texts);
        } else {
            collect(&below, child, &format!("{name}.rs"), texts);
        }
    }
    texts.insert(module, (path, text));
}

/// A file's text without comments and without what stands under `#[cfg(test)]`, which is formatted as `cargo fmt` does it.
fn without_tests(text: &str) -> String {
    let (mut kept, mut skipped) = (String::new(), None::<String>);
    for line in text.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        match &skipped {
            None if line.trim() == "#[cfg(test)]" => skipped = Some(indent.to_owned()),
            None if line.trim_start().starts_with("//") => {}
            None => {
                kept.push_str(line);
                kept.push('\n');
            }
            // The item ends with its own closing bracket, or with the first line when that is all of it.
            Some(outer) if indent == outer && (line.trim_end().ends_with(';') || line.trim() == "}") => skipped = None,
            Some(_) => {}
        }
    }
    kept
}

impl Source {
    fn parse(module: &Module, path: PathBuf, text: &str, known: &BTreeSet<Module>) -> Self {
        let (mut uses, mut reexports) = (vec![], BTreeMap::new());
        let is_mod = path.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs");
        for found in USED.captures_iter(text) {
            for (path, name) in expanded(&found[2]) {
                let Some(path) = absolute(module, &path, known) else { continue };
                if found.get(1).is_some() && is_mod {
                    reexports.insert(name, path);
                } else {
                    uses.push(path);
                }
            }
        }
        Self { path, uses, reexports }
    }
}

/// The single paths of a `use`, each with the name that it gets.
fn expanded(tree: &str) -> Vec<(Module, String)> {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let (prefix, inside) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap()]);
        let begin: Module =
            prefix.split("::").filter(|word| !word.trim().is_empty()).map(|word| word.trim().to_owned()).collect();
        let below = separated(inside).into_iter().flat_map(expanded);
        return below.map(|(path, name)| ([begin.clone(), path].concat(), name)).collect();
    }
    let (path, name) = tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name.trim())));
    let mut path: Module = path.split("::").map(|word| word.trim().to_owned()).collect();
    // `a::{self}` is `a`.
    if path.len() == 1 && path[0] == "self" {
        path.clear();
    }
    let last = path.last().cloned().unwrap_or_default();
    vec![(path, name.map_or(last, str::to_owned))]
}

/// The parts between the outer commas.
fn separated(list: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0, 0, vec![]);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[begin..]);
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

/// A path from the crate's root on; `None` for one into another crate.
fn absolute(module: &Module, path: &[String], known: &BTreeSet<Module>) -> Option<Module> {
    let mut from = module.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => (from, rest) = (vec![], &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                from.pop().expect("the root has no parent");
                rest = &rest[1..];
            }
        }
        child => {
            let own = [from.clone(), vec![child.to_owned()]].concat();
            if !known.contains(&own) {
                return None;
            }
        }
    }
    Some([from, rest.to_vec()].concat())
}

/// Circles among nodes, none of which uses a step of an earlier one: without them there would be no circle.
fn circles<N: Ord + Clone>(mut edges: BTreeMap<N, BTreeSet<N>>) -> Vec<Vec<N>> {
    let mut found = vec![];
    while let Some(circle) = circle(&edges) {
        for step in circle.windows(2) {
            edges.get_mut(&step[0]).unwrap().remove(&step[1]);
        }
        found.push(circle);
    }
    found
}

/// A circle among nodes, from its first node to that node again.
fn circle<N: Ord + Clone>(edges: &BTreeMap<N, BTreeSet<N>>) -> Option<Vec<N>> {
    fn visit<N: Ord + Clone>(
        node: &N,
        edges: &BTreeMap<N, BTreeSet<N>>,
        way: &mut Vec<N>,
        done: &mut BTreeSet<N>,
    ) -> Option<Vec<N>> {
        if let Some(begin) = way.iter().position(|earlier| earlier == node) {
            return Some([&way[begin..], std::slice::from_ref(node)].concat());
        }
        if done.contains(node) {
            return None;
        }
        way.push(node.clone());
        let found = edges.get(node).into_iter().flatten().find_map(|next| visit(next, edges, way, done));
        way.pop();
        done.insert(node.clone());
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|node| visit(node, edges, &mut vec![], &mut done))
}

#[test]
fn no_file_uses_itself_through_others() {
    for (sources, least) in [(Sources::read(), 50), (Sources::of_the_plugin(), 20)] {
        assert!(sources.modules.len() > least, "only {} files were found", sources.modules.len());
        let shown =
            |circle: Vec<&Module>| circle.into_iter().map(|module| sources.shown(module)).collect::<Vec<_>>().join(" -> ");
        let found: Vec<String> = circles(sources.edges()).into_iter().map(shown).collect();
        assert!(found.is_empty(), "circles of `use` lines in {}:\n{}", sources.root.display(), found.join("\n"));
    }
}

#[test]
fn folders_use_each_other_one_way() {
    let sources = Sources::read();
    let place = |module: &Module| ORDER.iter().position(|name| module.first().is_some_and(|first| first == name));
    let mut wrong = vec![];
    for (module, others) in sources.edges() {
        for other in others {
            if module.is_empty() || other.is_empty() {
                continue;
            }
            let [from, to] = [module, other].map(|module| place(module).unwrap_or_else(|| panic!("no order for {module:?}")));
            if from < to {
                wrong.push(format!("{} uses {}", sources.shown(module), sources.shown(other)));
            }
        }
    }
    assert!(wrong.is_empty(), "against the order {ORDER:?}:\n{}", wrong.join("\n"));
}

#[test]
fn rooms_use_each_other_one_way() {
    let sources = Sources::read();
    let (used, mut wrong) = (sources.edges(), vec![]);
    let folders: BTreeSet<&[String]> =
        sources.modules.keys().filter_map(|module| module.split_last().map(|(_, up)| up)).collect();
    for folder in folders {
        let room = |module: &Module| module.starts_with(folder).then(|| module.get(folder.len()).cloned())?;
        let mut edges = BTreeMap::<String, BTreeSet<String>>::new();
        for (module, others) in &used {
            let Some(from) = room(module) else { continue };
            edges.entry(from.clone()).or_default().extend(others.iter().filter_map(|to| room(to)).filter(|to| *to != from));
        }
        let found = circles(edges).into_iter();
        wrong.extend(found.map(|circle| format!("src/{}: {}", folder.join("/"), circle.join(" -> "))));
    }
    assert!(wrong.is_empty(), "circles among what is in a folder:\n{}", wrong.join("\n"));
}

#[test]
fn folders_and_files_stay_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut wrong) = (["src", "plugin", "tests"].map(|folder| root.join(folder)).to_vec(), vec![]);
    while let Some(folder) = folders.pop() {
        let mut count = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                count += 1;
                let (shown, lines) = (path.strip_prefix(root).unwrap(), fs::read_to_string(&path).unwrap().lines().count());
                if lines > LINES && !LARGE.iter().any(|(large, _)| Path::new(large) == shown) {
                    wrong.push(format!("{} has {lines} lines", shown.display()));
                }
            }
        }
        if count > FILES {
            wrong.push(format!("{} has {count} files", folder.strip_prefix(root).unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "more than {FILES} files or {LINES} lines:\n{}", wrong.join("\n"));
}

#[test]
fn a_circle_is_found_and_named() {
    let edges = |pairs: &[(&'static str, &[&'static str])]| -> BTreeMap<&str, BTreeSet<&str>> {
        pairs.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect()
    };
    assert_eq!(circle(&edges(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])), None);
    assert_eq!(circle(&edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])), Some(vec!["b", "c", "b"]));
}

#[test]
fn use_lines_are_read_as_the_compiler_does() {
    let words = |text: &str| -> Module { text.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect() };
    let known = ["", "a", "a::b", "a::c", "d"].map(words).into();
    let text =
        "use super::{b::{self, X}, Y};\nuse crate::d::Z as W;\nuse std::fmt;\n#[cfg(test)]\nmod tests {\n    use crate::e;\n}\n";
    let source = Source::parse(&words("a::c"), "a/c.rs".into(), &without_tests(text), &known);
    assert_eq!(source.uses, ["a::b", "a::b::X", "a::Y", "d::Z"].map(words));
    let source = Source::parse(&words("a"), "a/mod.rs".into(), "pub use b::X;\nuse c::V;\n", &known);
    assert_eq!((source.uses, source.reexports["X"].clone()), (vec![words("a::c::V")], words("a::b::X")));
}
