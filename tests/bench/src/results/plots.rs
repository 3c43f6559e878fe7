//! The results as plots: SVG files for docs/performance.md.

use std::{fs, path::Path};

use anyhow::{Result, anyhow};
use plotters::{coord::combinators::IntoLogRange, prelude::*};

use super::{
    report::number,
    samples::{Curve, Results, Table, median, quantile},
};

const COLORS: [RGBColor; 4] =
    [RGBColor(0x1f, 0x77, 0xb4), RGBColor(0xd6, 0x27, 0x28), RGBColor(0x2c, 0xa0, 0x2c), RGBColor(0x7f, 0x7f, 0x7f)];

/// Tables that show the samples of the table before them in another way.
const NOT_DRAWN: [&str; 3] = ["downtime-over-", "downtime-longest-", "large-at-zero-"];

/// Draws what a page shows, and returns titles and file names: the curves, and the tables in which things are compared.
pub fn draw(results: &Results, dir: &Path) -> Result<Vec<(String, String)>> {
    fs::create_dir_all(dir)?;
    let mut drawn = vec![];
    let is_drawn = |table: &&Table| table.baseline.is_some() && !NOT_DRAWN.iter().any(|prefix| table.id.starts_with(prefix));
    for table in results.tables.iter().filter(is_drawn) {
        let file = format!("{}.svg", table.id);
        bars(table, &dir.join(&file)).map_err(|error| anyhow!("{file}: {error}"))?;
        drawn.push((table.title.clone(), file));
    }
    for curve in &results.curves {
        let file = format!("{}.svg", curve.id);
        lines(curve, &dir.join(&file)).map_err(|error| anyhow!("{file}: {error}"))?;
        drawn.push((curve.title.clone(), file));
    }
    Ok(drawn)
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A bar from zero to the median for each series, and a line from its smallest to its largest sample.
fn bars(table: &Table, path: &Path) -> Drawn {
    let rows = i32::try_from(table.series.len())?;
    let most = table.series.iter().map(|series| quantile(&series.samples, 1.0)).fold(1.0, f64::max);
    let height = u32::try_from(rows * 44 + 90)?;
    let area = SVGBackend::new(path, (760, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&table.title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(36)
        .build_cartesian_2d(0.0..most * 1.05, 0.0..f64::from(rows))?;
    let format = |value: &f64| number(*value);
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .max_light_lines(1)
        .x_desc(&table.unit)
        .x_label_formatter(&format)
        .draw()?;
    for (row, series) in table.series.iter().enumerate() {
        let (color, top) = (COLORS[row % COLORS.len()], f64::from(rows - i32::try_from(row)?));
        let middle = median(&series.samples);
        chart.draw_series([Rectangle::new([(0.0, top - 0.95), (middle, top - 0.5)], color.mix(0.6).filled())])?;
        let (least, most) = (quantile(&series.samples, 0.0), quantile(&series.samples, 1.0));
        chart.draw_series([PathElement::new([(least, top - 0.72), (most, top - 0.72)], BLACK.stroke_width(2))])?;
        let label = format!("{}: {} {}", series.name, number(middle), table.unit);
        chart.draw_series([Text::new(label, (0.0, top - 0.08), ("sans-serif", 13))])?;
    }
    area.present()?;
    Ok(())
}

/// Both axes are logarithmic: what grows linearly rises by 45 degrees.
fn lines(curve: &Curve, path: &Path) -> Drawn {
    let points = || curve.lines.iter().flat_map(|line| &line.points);
    let (xs, ys) = (points().map(|(x, _)| *x), points().flat_map(|(_, samples)| samples.iter().copied()));
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, 1.0_f64), |(least, most), value| (least.min(value), most.max(value)))
    };
    let (x, y) = (range(&mut xs.into_iter()), range(&mut ys.into_iter()));
    let area = SVGBackend::new(path, (760, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&curve.title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((x.0..x.1).log_scale(), (y.0.max(0.1) * 0.8..y.1 * 1.25).log_scale())?;
    let format = |value: &f64| number(*value);
    let mut mesh = chart.configure_mesh();
    mesh.max_light_lines(1).x_desc(&curve.x).y_desc(&curve.y).x_label_formatter(&format).y_label_formatter(&format).draw()?;
    for (index, line) in curve.lines.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let medians: Vec<_> = line.points.iter().map(|(x, samples)| (*x, median(samples))).collect();
        let drawn = chart.draw_series(LineSeries::new(medians.clone(), color.stroke_width(2)))?;
        drawn.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(medians.into_iter().map(|at| Circle::new(at, 3, color.filled())))?;
        for (x, samples) in &line.points {
            let ends = [(*x, quantile(samples, 0.0)), (*x, quantile(samples, 1.0))];
            chart.draw_series([PathElement::new(ends, color.stroke_width(1))])?;
        }
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperLeft).border_style(BLACK.mix(0.3)).background_style(WHITE.mix(0.8)).draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Line;

    #[test]
    fn tables_with_a_baseline_and_curves_are_drawn() {
        let mut table = Table::new("downtime-12", "Downtime", "ms", "").beside("floor");
        for (name, sample) in [("floor", 1_000.0), ("ours", 1_500.0), ("ours", 1_700.0)] {
            table.add(name, sample);
        }
        let undrawn = Table { id: "downtime-over-12".into(), ..table.clone() };
        let line = Line { name: "ours".into(), points: vec![(10.0, vec![1.0, 2.0]), (100.0, vec![0.0, 9.0])] };
        let text = str::to_owned;
        let curve = Curve { id: text("growth"), title: text("Growth"), x: text("partitions"), y: text("ms"), lines: vec![line] };
        let results = Results { tables: vec![table, undrawn], curves: vec![curve], ..Results::default() };
        let dir = std::env::temp_dir().join(real_tests::unique("plots"));
        let drawn = draw(&results, &dir).unwrap();
        assert_eq!(drawn, [("Downtime".into(), "downtime-12.svg".into()), ("Growth".into(), text("growth.svg"))]);
        for (file, words) in [("downtime-12.svg", ["floor: 1000 ms", "ours: 1600 ms"]), ("growth.svg", ["Growth", "partitions"])]
        {
            let svg = fs::read_to_string(dir.join(file)).unwrap();
            assert!(words.iter().all(|word| svg.contains(word)), "{svg}");
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
