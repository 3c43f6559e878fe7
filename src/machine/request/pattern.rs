//! The regular expressions of a spec, compiled together, so that all of them cost no more than one
//! stated amount of memory and of work.
//!
//! They come from users, and a single short one can compile to megabytes. So the compiled form of
//! all of them has one limit of size, and matching builds no more than a limited number of states.

use std::sync::Arc;

use regex_automata::{
    Anchored, Input, MatchKind, PatternSet,
    hybrid::dfa::{Cache, DFA},
    nfa::thompson::{Compiler, Config as NfaConfig, WhichCaptures},
};
use regex_syntax::{
    Error, ParserBuilder,
    hir::{self, Class, Hir, HirKind, Visitor},
};

/// The largest compiled form of all patterns of a spec, in bytes.
pub const PATTERNS_SIZE: usize = 1 << 20;

/// The memory for the states that matching builds, in bytes. Less than the states of a legal
/// pattern may need is raised to that.
const STATES_SIZE: usize = 8 << 20;

/// How often that memory is filled and cleared before matching gives up. Together with the size of
/// the patterns it bounds the work: a state costs at most one walk over the compiled form.
const MAX_CLEARS: usize = 4;

/// The patterns of a spec, compiled together.
#[derive(Debug)]
pub struct Patterns {
    texts: Vec<String>,
    automaton: DFA,
}

/// Why patterns cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// This one, by its position, is no regular expression.
    Invalid(usize),
    /// This one, by its position, needs more characters than topics have.
    NotAscii(usize),
    /// Together they are larger than [`PATTERNS_SIZE`].
    TooLarge,
}

/// Matching needed more states than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooComplex;

/// One of the patterns of a spec. It means whole names, as Kafka's consumers take theirs.
#[derive(Clone, Debug)]
pub struct Pattern {
    all: Arc<Patterns>,
    index: usize,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Pattern {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.all.texts[self.index]
    }

    /// All patterns of the spec.
    #[must_use]
    pub fn all(&self) -> &Arc<Patterns> {
        &self.all
    }

    /// Its position among them.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }
}

impl Patterns {
    /// Compiles patterns, in this order.
    ///
    /// # Errors
    /// When one is no regular expression, or when they are too large together.
    pub fn compile<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Pattern>, PatternError> {
        let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
        if texts.is_empty() {
            return Ok(vec![]);
        }
        let whole = |(index, text): (usize, &String)| {
            let parsed = parse(index, text)?;
            Ok(Hir::concat(vec![Hir::look(hir::Look::Start), parsed, Hir::look(hir::Look::End)]))
        };
        let parsed = texts.iter().enumerate().map(whole).collect::<Result<Vec<_>, _>>()?;
        let config = NfaConfig::new().utf8(false).which_captures(WhichCaptures::None).nfa_size_limit(Some(PATTERNS_SIZE));
        let compiled = Compiler::new().configure(config).build_many_from_hir(&parsed).map_err(|_| PatternError::TooLarge)?;
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(STATES_SIZE)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(MAX_CLEARS))
            .minimum_bytes_per_state(None);
        let automaton = DFA::builder().configure(config).build_from_nfa(compiled).map_err(|_| PatternError::TooLarge)?;
        let all = Arc::new(Self { texts, automaton });
        Ok((0..all.texts.len()).map(|index| Pattern { all: Arc::clone(&all), index }).collect())
    }

    /// The memory of the compiled form, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.automaton.memory_usage()
    }

    /// Matches names, one after the other.
    #[must_use]
    pub fn matcher(&self) -> Matcher<'_> {
        Matcher { cache: self.automaton.create_cache(), found: PatternSet::new(self.texts.len()), patterns: self }
    }
}

/// Matches names against all patterns at once, with the states that were built so far.
pub struct Matcher<'a> {
    patterns: &'a Patterns,
    cache: Cache,
    found: PatternSet,
}

impl Matcher<'_> {
    /// Which patterns match a whole name, by their positions.
    ///
    /// # Errors
    /// When that would take more states than allowed.
    pub fn matches(&mut self, name: &str) -> Result<&PatternSet, TooComplex> {
        self.found.clear();
        let input = Input::new(name).anchored(Anchored::Yes);
        let matched = self.patterns.automaton.try_which_overlapping_matches(&mut self.cache, &input, &mut self.found);
        matched.map_err(|_| TooComplex)?;
        Ok(&self.found)
    }
}

/// Parses one pattern alone: between anchors `a)|(b` would be valid, and match other names. Topics
/// have ASCII names, so classes such as `\w` have only ASCII characters: Unicode's are large.
fn parse(index: usize, pattern: &str) -> Result<Hir, PatternError> {
    let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).map_err(|error| match error {
        Error::Translate(error) if *error.kind() == hir::ErrorKind::UnicodeNotAllowed => PatternError::NotAscii(index),
        _ => PatternError::Invalid(index),
    })?;
    hir::visit(&parsed, OnlyAscii).map_err(|()| PatternError::NotAscii(index))?;
    Ok(parsed)
}

/// Refuses classes of Unicode.
struct OnlyAscii;

impl Visitor for OnlyAscii {
    type Output = ();
    type Err = ();

    fn finish(self) -> Result<(), ()> {
        Ok(())
    }

    fn visit_pre(&mut self, part: &Hir) -> Result<(), ()> {
        match part.kind() {
            HirKind::Class(Class::Unicode(class)) if !class.is_ascii() => Err(()),
            HirKind::Look(look) if hir::LookSet::singleton(*look).contains_word_unicode() => Err(()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::MAX_ENTRIES;

    /// The longest pattern that the schema lets through.
    const LONGEST: usize = 249;

    fn is_match(pattern: &str, topic: &str) -> bool {
        Patterns::compile([pattern]).unwrap()[0].all.matcher().matches(topic).unwrap().contains(regex_automata::PatternID::ZERO)
    }

    #[rstest]
    #[case("orders", "orders", true)]
    #[case("orders", "orders-eu", false)]
    #[case("orders|payments", "my-payments", false)]
    #[case("a||b", "", true)]
    #[case(r"orders\..*", "orders.eu", true)]
    #[case(r"(?i)ORDERS-\d+", "orders-17", true)]
    #[case(r"\borders\b", "orders", true)]
    #[case(r"^orders$", "orders", true)]
    #[case(".*", "anything", true)]
    #[case("[^o]*", "anything", true)]
    fn a_pattern_means_whole_names(#[case] pattern: &str, #[case] topic: &str, #[case] matches: bool) {
        assert_eq!(is_match(pattern, topic), matches);
    }

    #[test]
    fn each_of_many_patterns_matches_on_its_own() {
        let patterns = Patterns::compile(["a.*", ".*b", "c"]).unwrap();
        let mut matcher = patterns[0].all.matcher();
        let mut found = |name| matcher.matches(name).unwrap().iter().map(|id| id.as_usize()).collect::<Vec<_>>();
        assert_eq!(found("ab"), [0, 1]);
        assert_eq!(found("c"), [2]);
        assert_eq!(found("d"), [0; 0]);
    }

    #[rstest]
    #[case::unclosed("(", PatternError::Invalid(1))]
    #[case::two_halves("a)|(b", PatternError::Invalid(1))]
    #[case::letters_of_unicode(r"\pL", PatternError::NotAscii(1))]
    #[case::a_class_beyond_ascii("[é]", PatternError::NotAscii(1))]
    #[case::unicode_switched_on(r"(?u)\w", PatternError::NotAscii(1))]
    #[case::boundaries_of_unicode(r"(?u)\b", PatternError::NotAscii(1))]
    fn an_invalid_pattern_is_named_by_its_position(#[case] pattern: &str, #[case] why: PatternError) {
        assert_eq!(Patterns::compile(["sound", pattern]).unwrap_err(), why);
    }

    /// As many patterns as a spec may have, each as long as it may be.
    fn most(pattern: impl Fn(usize) -> String) -> Result<Vec<Pattern>, PatternError> {
        let texts: Vec<String> = (0..MAX_ENTRIES).map(pattern).collect();
        assert!(texts.iter().all(|text| text.len() <= LONGEST), "the schema has to let them through");
        Patterns::compile(texts.iter().map(String::as_str))
    }

    #[test]
    fn all_patterns_of_a_spec_have_one_limit() {
        let sound = most(|index| format!(r"team-{index}\.orders\.(eu|us)\.v\d+\..*")).unwrap();
        assert!(sound[0].all.memory() <= PATTERNS_SIZE + (64 << 10), "{}", sound[0].all.memory());
        // Six characters each, which was the case that stopped the operator: they are ASCII now.
        let ascii = most(|_| r"\w{20}".into()).unwrap();
        assert!(ascii[0].all.memory() <= PATTERNS_SIZE + (64 << 10), "{}", ascii[0].all.memory());
        assert_eq!(most(|_| r"((\w{1000}){1000}){1000}".into()).unwrap_err(), PatternError::TooLarge);
        assert_eq!(most(|index| format!(r"{index}[a-z]{{900}}")).unwrap_err(), PatternError::TooLarge);
        assert_eq!(most(|_| "a".repeat(LONGEST)).unwrap_err(), PatternError::TooLarge);
    }

    #[test]
    fn matching_gives_up_instead_of_building_states_without_end() {
        // Whether each of the last 200 characters was an `a`: 2^200 states.
        let all = most(|index| if index == 0 { r"[ab]*a[ab]{200}".into() } else { "x".into() }).unwrap();
        let mut matcher = all[0].all.matcher();
        let name = |number: u64| {
            let bits = (0..4).map(|round| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(round * 17));
            let words: Vec<String> = bits.map(|word| format!("{word:b}")).collect();
            words.concat().replace('0', "a").replace('1', "b")
        };
        let result = (0..20_000).map(|number| matcher.matches(&name(number)).map(|_| ())).find(Result::is_err);
        assert_eq!(result, Some(Err(TooComplex)));
        assert!(matcher.cache.memory_usage() <= 2 * STATES_SIZE, "{}", matcher.cache.memory_usage());
    }
}
