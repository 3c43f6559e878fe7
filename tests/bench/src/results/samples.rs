//! What was measured, and what is said of it: medians, spread, ratios within pairs.

use serde::{Deserialize, Serialize};

/// All results of one run, as the file has them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// The commit of the operator that was measured.
    pub commit: String,
    /// When the run began.
    pub taken: Option<jiff::Timestamp>,
    /// Whether this was the short run.
    pub quick: bool,
    /// The machine: its cores and its load.
    pub machine: String,
    pub tables: Vec<Table>,
    pub curves: Vec<Curve>,
    /// One reset, request by request.
    #[serde(default)]
    pub trace: Vec<Step>,
}

/// A request of the operator to the API server, or something that happened at that moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When it came, in milliseconds since the OffsetReset was created.
    pub at: f64,
    /// How long the API server took to answer, in milliseconds; none for what is no request.
    pub took: Option<f64>,
    pub what: String,
}

/// Things that were measured in turn, in the same unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// By which a later run finds it, such as `downtime-12`.
    pub id: String,
    pub title: String,
    pub unit: String,
    /// What a reader must know of how it was measured.
    pub note: String,
    /// The name of the series to which the others are compared, pair by pair.
    pub baseline: Option<String>,
    pub series: Vec<Series>,
    /// How many processes wanted a core when it was done: on average of one, five and fifteen minutes.
    #[serde(default)]
    pub load: String,
}

/// One thing, measured once in each round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    pub name: String,
    pub samples: Vec<f64>,
}

/// How something grows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Curve {
    pub id: String,
    pub title: String,
    pub x: String,
    pub y: String,
    pub lines: Vec<Line>,
}

/// One line of a plot: each point has all that was measured there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, Vec<f64>)>,
}

impl Results {
    /// Adds a table, in place of one that an earlier part of the run has left.
    pub fn put(&mut self, table: Table) {
        self.tables.retain(|old| old.id != table.id);
        self.tables.push(Table { load: load(), ..table });
    }
}

impl Table {
    pub fn new(id: &str, title: &str, unit: &str, note: &str) -> Self {
        let text = str::to_owned;
        Self {
            id: text(id),
            title: text(title),
            unit: text(unit),
            note: text(note),
            baseline: None,
            series: vec![],
            load: String::new(),
        }
    }

    #[must_use]
    pub fn beside(mut self, baseline: &str) -> Self {
        self.baseline = Some(baseline.to_owned());
        self
    }

    /// Adds a sample to the series of this name, which may be new.
    pub fn add(&mut self, name: &str, sample: f64) {
        if let Some(series) = self.series.iter_mut().find(|series| series.name == name) {
            series.samples.push(sample);
        } else {
            self.series.push(Series { name: name.to_owned(), samples: vec![sample] });
        }
    }

    /// How much more a series has than another one, round by round.
    pub fn over(&self, name: &str, floor: &str) -> Vec<f64> {
        let of = |name| self.series.iter().find(|series| series.name == name).map_or(&[][..], |series| &series.samples);
        of(name).iter().zip(of(floor)).map(|(sample, floor)| sample - floor).collect()
    }

    /// The ratios of a series to the baseline, round by round; none for the baseline itself.
    pub fn ratios(&self, series: &Series) -> Vec<f64> {
        let baseline = self.baseline.as_ref().filter(|name| **name != series.name);
        let Some(baseline) = baseline.and_then(|name| self.series.iter().find(|other| other.name == *name)) else {
            return vec![];
        };
        let pairs = series.samples.iter().zip(&baseline.samples);
        pairs.filter(|(_, base)| **base != 0.0).map(|(sample, base)| sample / base).collect()
    }
}

/// How many processes wanted a core: on average of one, five and fifteen minutes.
pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The value below which this share of the samples is, between the two nearest ones; NaN of none.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    #[allow(clippy::cast_precision_loss, reason = "no run has so many samples")]
    let at = share * last as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a sample")]
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * at.fract()
}

pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_nearest_samples() {
        assert!(median(&[]).is_nan());
        for (samples, share, expected) in [
            (&[3.0][..], 0.99, 3.0),
            (&[3.0, 1.0, 2.0], 0.5, 2.0),
            (&[4.0, 1.0], 0.5, 2.5),
            (&[0.0, 10.0, 20.0], 0.0, 0.0),
            (&[0.0, 10.0, 20.0], 1.0, 20.0),
            (&[0.0, 10.0, 20.0], 0.75, 15.0),
        ] {
            assert!((quantile(samples, share) - expected).abs() < 1e-9, "{samples:?} at {share}");
        }
    }

    #[test]
    fn ratios_and_differences_are_those_of_the_same_round() {
        let mut table = Table::new("t", "t", "ms", "").beside("floor");
        for (name, sample) in [("floor", 10.0), ("ours", 15.0), ("ours", 50.0), ("floor", 20.0)] {
            table.add(name, sample);
        }
        assert_eq!(table.ratios(&table.series[1]), [1.5, 2.5]);
        assert_eq!(table.over("ours", "floor"), [5.0, 30.0]);
        assert!(table.ratios(&table.series[0]).is_empty(), "the baseline is compared to nothing");
    }
}
