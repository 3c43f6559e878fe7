//! The panels of a dashboard as one SVG, in the dashboard's own places: what they show, not how Grafana looks.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

/// A cell of the dashboard's grid, which has 24 columns, and the space between panels.
const CELL: (f64, f64) = (50.0, 32.0);
const GAP: f64 = 6.0;
/// Above the first panel.
const HEAD: f64 = 44.0;

const COLORS: [&str; 10] =
    ["#1f77b4", "#e07b16", "#2c9a3c", "#d62728", "#8a63c9", "#8c564b", "#d558b5", "#7f7f7f", "#a3a420", "#17a2b8"];

/// About the width of a letter of the legend.
const LETTER: f64 = 6.6;

/// What was measured over the time, and its name.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A panel as the dashboard describes it, with Prometheus' answers.
pub struct Panel<'a> {
    pub json: &'a Value,
    pub series: Vec<Series>,
}

/// The time that the picture shows, in Unix seconds, and how far apart the samples are.
#[derive(Clone, Copy)]
pub struct Time {
    pub begin: f64,
    pub end: f64,
    pub step: f64,
}

/// A rectangle of the picture.
#[derive(Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// `marked` are times that the dashboard's annotations mark.
pub fn svg(title: &str, panels: &[Panel], time: Time, marked: &[(f64, f64)]) -> String {
    let place = |panel: &Panel, side: &str| panel.json["gridPos"][side].as_f64().unwrap();
    let rows = panels.iter().map(|panel| place(panel, "y") + place(panel, "h")).fold(0.0, f64::max);
    let (width, height) = (24.0 * CELL.0 + GAP, rows * CELL.1 + HEAD + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"11\" fill=\"#333\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#f1f3f5\"/>\n{}",
        text(GAP + 4.0, 27.0, "font-size=\"15\" font-weight=\"bold\"", title)
    );
    for panel in panels {
        let area = Area {
            left: place(panel, "x") * CELL.0 + GAP,
            top: place(panel, "y") * CELL.1 + HEAD,
            width: place(panel, "w") * CELL.0 - GAP,
            height: place(panel, "h") * CELL.1 - GAP,
        };
        let name = panel.json["title"].as_str().unwrap();
        if panel.json["type"] == "row" {
            out += &text(area.left + 4.0, area.top + 19.0, "font-size=\"14\" font-weight=\"bold\"", name);
            continue;
        }
        let Area { left, top, width, height } = area;
        let _ = writeln!(out, "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"3\" fill=\"white\"/>");
        out += &text(left + 8.0, top + 17.0, "font-size=\"12\" font-weight=\"bold\"", name);
        match panel.json["type"].as_str().unwrap() {
            "stat" => out += &number(panel, area, time),
            "heatmap" => out += &heatmap(panel, area, time),
            "timeseries" => out += &lines(panel, area, time, marked),
            other => panic!("a panel of the type {other} cannot be drawn"),
        }
    }
    out + "</svg>\n"
}

fn text(x: f64, y: f64, attributes: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{words}</text>\n")
}

/// The last value, if it is as old as the picture's end, in the color of its threshold.
fn number(panel: &Panel, area: Area, time: Time) -> String {
    let defaults = &panel.json["fieldConfig"]["defaults"];
    let last = panel.series.first().and_then(|series| series.points.last()).filter(|(at, _)| time.end - at < time.step);
    let mut steps = defaults["thresholds"]["steps"].as_array().into_iter().flatten();
    let reached = |step: &&Value| last.is_some_and(|(_, value)| step["value"].as_f64().is_none_or(|from| *value >= from));
    let color = match steps.rfind(reached).and_then(|step| step["color"].as_str()) {
        Some("red") => "#c4162a",
        Some("green") => "#37872d",
        _ => "#888",
    };
    let words = last.map_or_else(|| none(panel), |(_, value)| shown(*value, defaults["unit"].as_str()));
    let size = if words.len() > 8 { 18 } else { 34 };
    let attributes = format!("font-size=\"{size}\" text-anchor=\"middle\" fill=\"{color}\"");
    text(area.left + area.width / 2.0, area.top + area.height / 2.0 + 20.0, &attributes, &words)
}

fn none(panel: &Panel) -> String {
    panel.json["fieldConfig"]["defaults"]["noValue"].as_str().unwrap_or("No data").to_owned()
}

/// A value in a unit of Grafana.
fn shown(value: f64, unit: Option<&str>) -> String {
    let short = |value: f64| {
        let places = if value.abs() >= 10.0 { 1 } else { 3 };
        let text = format!("{value:.places$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    match unit {
        Some("s") if value.abs() >= 120.0 => format!("{} min", short((value / 6.0).round() / 10.0)),
        Some("s") if value != 0.0 && value.abs() < 1.0 => format!("{} ms", short(value * 1000.0)),
        Some("s") => format!("{} s", short(value)),
        Some("bytes") => format!("{} MiB", short(value / 1_048_576.0)),
        Some(other) => panic!("values in {other} cannot be drawn"),
        None if value.abs() >= 1000.0 => format!("{}k", short(value / 1000.0)),
        None => short(value),
    }
}

/// Round numbers from zero to at least `most`.
fn ticks(most: f64, unit: Option<&str>, only_whole: bool) -> Vec<f64> {
    let scale = if unit == Some("bytes") { 1_048_576.0 } else { 1.0 };
    let rough = (most / scale / 4.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    let mut step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough).unwrap();
    if only_whole {
        step = step.ceil().max(1.0);
    }
    let mut ticks = vec![0.0];
    while ticks.last().unwrap() < &(most * 0.999) {
        ticks.push(f64::from(u32::try_from(ticks.len()).unwrap()) * step * scale);
    }
    ticks
}

/// A legend below the plot, as many lines of it as fit, and the rest of the area.
fn legend(series: &[Series], area: Area) -> (String, Area) {
    let (mut out, mut x, mut line) = (String::new(), 0.0, 0);
    let mut entries = vec![];
    let mut left_out = 0;
    for (index, Series { name, .. }) in series.iter().enumerate() {
        #[allow(clippy::cast_precision_loss, reason = "a legend is not that long")]
        let width = name.chars().count() as f64 * LETTER + 24.0;
        if x > 0.0 && x + width > area.width - 16.0 {
            (x, line) = (0.0, line + 1);
        }
        if line > 3 {
            left_out += 1;
            continue;
        }
        entries.push((x, line, name.clone(), COLORS[index % COLORS.len()]));
        x += width;
    }
    let lines = f64::from(line.min(3) + 1 + i32::from(left_out > 0));
    let top = area.top + area.height - lines * 14.0 - 2.0;
    let row = |line: i32| top + f64::from(line) * 14.0 + 10.0;
    for (x, line, name, color) in entries {
        let (left, y) = (area.left + 10.0 + x, row(line));
        let _ = writeln!(out, "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"12\" height=\"4\" fill=\"{color}\"/>", y - 6.0);
        out += &text(left + 16.0, y, "", &name);
    }
    if left_out > 0 {
        out += &text(area.left + 10.0, row(4), "fill=\"#888\"", &format!("and {left_out} more"));
    }
    (out, Area { height: top - area.top - 18.0, ..area })
}

/// Where times and values are in a plot.
struct Scale {
    plot: Area,
    time: Time,
    most: f64,
}

impl Scale {
    fn x(&self, at: f64) -> f64 {
        self.plot.left + (at - self.time.begin) / (self.time.end - self.time.begin) * self.plot.width
    }

    fn y(&self, value: f64) -> f64 {
        self.plot.top + self.plot.height * (1.0 - value / self.most)
    }

    /// Vertical lines at full minutes, and their times.
    fn minutes(&self) -> String {
        let (plot, mut out) = (self.plot, String::new());
        let room = plot.width / 56.0;
        let spans = [15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
        let fits = |span: &f64| (self.time.end - self.time.begin) / span <= room;
        let span = spans.into_iter().find(fits).unwrap_or(7200.0);
        let mut at = (self.time.begin / span).ceil() * span;
        while at <= self.time.end {
            let (x, bottom) = (self.x(at), plot.top + plot.height);
            let _ = writeln!(out, "<path d=\"M{x:.1} {:.1}V{bottom:.1}\" stroke=\"#e4e7ea\"/>", plot.top);
            #[allow(clippy::cast_possible_truncation, reason = "a time in seconds")]
            let clock = jiff::Timestamp::from_second(at as i64).unwrap();
            let clock = clock.strftime(if span < 60.0 { "%H:%M:%S" } else { "%H:%M" }).to_string();
            // A time at the very end stands a little before it, in its panel.
            let x = x.min(plot.left + plot.width - 12.0);
            out += &text(x, bottom + 13.0, "text-anchor=\"middle\" fill=\"#666\" font-size=\"10\"", &clock);
            at += span;
        }
        out
    }
}

/// The plot in a panel's area: beside its axes.
fn plot(area: Area) -> Area {
    Area { left: area.left + 52.0, top: area.top + 28.0, width: area.width - 64.0, height: area.height - 32.0 }
}

fn lines(panel: &Panel, area: Area, time: Time, marked: &[(f64, f64)]) -> String {
    let (custom, defaults) = (&panel.json["fieldConfig"]["defaults"]["custom"], &panel.json["fieldConfig"]["defaults"]);
    let series = &panel.series;
    if series.iter().all(|series| series.points.is_empty()) {
        let middle = (area.left + area.width / 2.0, area.top + area.height / 2.0 + 4.0);
        return text(middle.0, middle.1, "text-anchor=\"middle\" fill=\"#888\" font-size=\"14\"", &none(panel));
    }
    let (mut out, rest) = legend(series, area);
    let is_stacked = custom["stacking"]["mode"] == "normal";
    let sums = is_stacked.then(|| stacked(series));
    let all = series.iter().flat_map(|series| series.points.iter().map(|(_, value)| *value));
    let most = match &sums {
        Some(sums) => sums.iter().flatten().map(|(_, _, upper)| *upper).fold(0.0, f64::max),
        None => all.fold(0.0, f64::max),
    };
    let most = defaults["max"].as_f64().unwrap_or(if most == 0.0 { 1.0 } else { most * 1.05 });
    let unit = defaults["unit"].as_str();
    let ticks = ticks(most, unit, defaults["decimals"] == 0);
    let scale = Scale { plot: plot(rest), time, most: *ticks.last().unwrap() };
    let stretch = |(begin, end): &(f64, f64)| {
        let (from, to) = (scale.x(begin.max(time.begin)), scale.x(end.min(time.end)));
        format!("M{from:.1} {:.1}h{:.1}v{:.1}H{from:.1}Z", scale.plot.top, (to - from).max(1.0), scale.plot.height)
    };
    let stretches: String = marked.iter().map(stretch).collect();
    let _ = writeln!(out, "<path d=\"{stretches}\" fill=\"#f5a623\" opacity=\"0.16\"/>");
    for tick in ticks {
        let y = scale.y(tick);
        let (left, right) = (scale.plot.left, scale.plot.left + scale.plot.width);
        let _ = writeln!(out, "<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"#e4e7ea\"/>");
        out += &text(left - 5.0, y + 3.5, "text-anchor=\"end\" fill=\"#666\" font-size=\"10\"", &shown(tick, unit));
    }
    out += &scale.minutes();
    for (index, series) in series.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        if let Some(sums) = &sums {
            for part in parts(&sums[index], time.step, |(at, ..)| *at) {
                let point = |at: f64, value: f64| format!("{:.1} {:.1}", scale.x(at), scale.y(value));
                let upper = part.iter().map(|(at, _, upper)| point(*at, *upper));
                // As wide as a sample, so that a single one is seen.
                let last = part.last().map(|(at, _, upper)| point((at + time.step).min(time.end), *upper));
                let lower = part.iter().rev().map(|(at, lower, _)| point(*at, *lower));
                let back = part.last().map(|(at, lower, _)| point((at + time.step).min(time.end), *lower));
                let path: Vec<String> = upper.chain(last).chain(back).chain(lower).collect();
                let _ = writeln!(out, "<path d=\"M{}Z\" fill=\"{color}\" fill-opacity=\"0.6\"/>", path.join("L"));
            }
            continue;
        }
        for part in parts(&series.points, time.step, |(at, _)| *at) {
            let path: Vec<String> =
                part.iter().map(|(at, value)| format!("{:.1} {:.1}", scale.x(*at), scale.y(*value))).collect();
            let path = if path.len() == 1 { format!("M{}h2", path[0]) } else { format!("M{}", path.join("L")) };
            let _ = writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.6\"/>");
        }
    }
    out
}

/// Each series on top of those before it: time, lower and upper edge.
fn stacked(series: &[Series]) -> Vec<Vec<(f64, f64, f64)>> {
    let mut below = BTreeMap::<u64, f64>::new();
    let on_top = |series: &Series| {
        let edges = series.points.iter().map(|(at, value)| {
            let sum = below.entry(at.to_bits()).or_default();
            let lower = *sum;
            *sum += value;
            (*at, lower, *sum)
        });
        edges.collect()
    };
    series.iter().map(on_top).collect()
}

/// The stretches without a gap.
fn parts<T>(points: &[T], step: f64, at: impl Fn(&T) -> f64) -> impl Iterator<Item = &[T]> {
    points.chunk_by(move |before, after| at(after) - at(before) < step * 1.5)
}

/// The series are cumulative buckets, named by their upper bounds.
fn heatmap(panel: &Panel, area: Area, time: Time) -> String {
    let bound = |series: &Series| if series.name == "+Inf" { f64::INFINITY } else { series.name.parse().unwrap() };
    let mut buckets: Vec<(f64, &Series)> = panel.series.iter().map(|series| (bound(series), series)).collect();
    buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let rows = f64::from(u32::try_from(buckets.len().max(1)).unwrap());
    let scale = Scale { plot: plot(area), time, most: rows };
    let scale = Scale { plot: Area { height: scale.plot.height - 18.0, ..scale.plot }, ..scale };
    let mut out = scale.minutes();
    let mut below = BTreeMap::<u64, f64>::new();
    let mut cells = vec![];
    for (row, (_, series)) in (0_u32..).zip(&buckets) {
        for (at, value) in &series.points {
            let before = below.insert(at.to_bits(), *value).unwrap_or_default();
            cells.push((*at, f64::from(row), value - before));
        }
    }
    let most = cells.iter().map(|(.., count)| *count).fold(0.0, f64::max);
    let end = scale.plot.left + scale.plot.width;
    for (at, row, count) in cells.iter().filter(|(.., count)| *count > 0.01) {
        let (x, y, height) = (scale.x(*at), scale.y(row + 1.0), scale.plot.height / rows);
        let width = (scale.plot.width * time.step / (time.end - time.begin) + 0.3).min(end - x);
        let opacity = 0.15 + 0.85 * count / most;
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"#1f77b4\" opacity=\"{opacity:.2}\"/>"
        );
    }
    let every = buckets.len().div_ceil(9).max(1);
    for (row, (bound, _)) in (0_u32..).zip(&buckets).step_by(every) {
        let name = if bound.is_finite() { shown(*bound, Some("s")) } else { "more".into() };
        let y = scale.y(f64::from(row) + 0.5) + 3.5;
        out += &text(scale.plot.left - 5.0, y, "text-anchor=\"end\" fill=\"#666\" font-size=\"10\"", &name);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TIME: Time = Time { begin: 600.0, end: 720.0, step: 10.0 };

    fn panel(kind: &str, defaults: &Value) -> Value {
        let place = json!({"x": 0, "y": 1, "w": 12, "h": 7});
        json!({"type": kind, "title": "A < B", "gridPos": place, "fieldConfig": {"defaults": defaults}})
    }

    fn drawn(json: &Value, series: Vec<Series>) -> String {
        svg("Panels", &[Panel { json, series }], TIME, &[(620.0, 650.0)])
    }

    fn of(name: &str, points: &[(f64, f64)]) -> Series {
        Series { name: name.into(), points: points.to_vec() }
    }

    #[test]
    fn a_line_breaks_where_values_are_missing_and_has_its_name_and_unit() {
        let json = panel("timeseries", &json!({"unit": "s"}));
        let picture = drawn(&json, vec![of("p99", &[(600.0, 0.5), (610.0, 2.0), (650.0, 2.0), (660.0, 1.0)])]);
        assert_eq!(picture.matches("stroke-width=\"1.6\"").count(), 2, "{picture}");
        for words in [">p99<", ">A &lt; B<", ">00:11:00<", ">1 s<", "#f5a623"] {
            assert!(picture.contains(words), "{words} in {picture}");
        }
    }

    #[test]
    fn stacked_series_stand_on_each_other() {
        let one = of("one", &[(600.0, 1.0), (610.0, 1.0)]);
        let other = of("other", &[(610.0, 2.0)]);
        assert_eq!(stacked(&[one, other]), [vec![(600.0, 0.0, 1.0), (610.0, 0.0, 1.0)], vec![(610.0, 1.0, 3.0)]]);
    }

    #[test]
    fn a_number_that_is_no_more_there_is_not_shown() {
        let steps = json!([{"color": "red", "value": null}, {"color": "green", "value": 120}]);
        let json = panel("stat", &json!({"unit": "s", "noValue": "nothing is held", "thresholds": {"steps": steps}}));
        let now = drawn(&json, vec![of("left", &[(710.0, 12.0), (720.0, 90.0)])]);
        assert!(now.contains("fill=\"#c4162a\">90 s<"), "{now}");
        assert!(drawn(&json, vec![of("left", &[(720.0, 289.1)])]).contains("fill=\"#37872d\">4.8 min<"));
        let earlier = drawn(&json, vec![of("left", &[(700.0, 90.0)])]);
        assert!(earlier.contains(">nothing is held<") && !earlier.contains("90 s"), "{earlier}");
    }

    #[test]
    fn buckets_of_a_heatmap_are_no_longer_cumulative() {
        let json = panel("heatmap", &json!({}));
        // Two below one second, none between one and two.
        let series = [("2", 2.0), ("1", 2.0), ("+Inf", 3.0)].map(|(name, value)| of(name, &[(600.0, value)]));
        let picture = drawn(&json, series.into());
        assert_eq!(picture.matches("fill=\"#1f77b4\"").count(), 2, "{picture}");
        for words in [">1 s<", ">2 s<", ">more<"] {
            assert!(picture.contains(words), "{words} in {picture}");
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(7.3, None, false), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(2.0, None, true), [0.0, 1.0, 2.0]);
        assert_eq!(
            ticks(60.0 * 1_048_576.0, Some("bytes"), false).iter().map(|at| shown(*at, Some("bytes"))).collect::<Vec<_>>(),
            ["0 MiB", "20 MiB", "40 MiB", "60 MiB"]
        );
    }
}
