//! A matrix of settings, a program run several times in each cell, and how often it passed.

use crate::plan::Mistake;
use crate::result::Verdict;
use serde::Serialize;

/// The version of the JSON document of a sweep.
pub const SCHEMA: &str = "wirelab/lossy-path-sweep/1";
/// Cells of a matrix, at most.
pub const CELLS_MAX: usize = 1_000;

/// The results of a sweep.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The command that repeats it, seed included.
    pub command: String,
    /// The first seed of every cell; each run has the next.
    pub seed: u64,
    /// The cells, the last setting varying fastest.
    pub cells: Vec<Cell>,
}

/// One combination of settings.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Its settings: `loss=1% delay=50ms`.
    pub settings: String,
    /// Its runs.
    pub runs: Vec<Run>,
}

/// One run of the program.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Exit status as a shell gives it.
    pub code: i32,
    /// The verdict on the path.
    pub verdict: Verdict,
    /// How long the program ran, nanoseconds.
    pub elapsed_ns: u64,
    /// Frames lost in both directions.
    pub lost: u64,
    /// Frames offered in both directions.
    pub offered: u64,
    /// The command that repeats it.
    pub command: String,
    /// The end of what the program printed, if it failed.
    pub output: String,
}

impl Run {
    /// Whether the program exited with 0.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.code == 0
    }

    /// How long it took.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "shown with milliseconds")]
    pub fn seconds(&self) -> f64 {
        self.elapsed_ns as f64 / 1e9
    }
}

impl Cell {
    /// Runs that passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.runs.iter().filter(|run| run.passed()).count()
    }

    /// The median duration of its runs, nanoseconds.
    #[must_use]
    pub fn median_ns(&self) -> u64 {
        let mut times: Vec<u64> = self.runs.iter().map(|run| run.elapsed_ns).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0)
    }
}

/// Every combination of axes such as `loss=0%,1%,5%`, values separated by commas, or by `|` where a
/// value has commas itself; the last axis varies fastest.
///
/// # Errors
/// What was expected of an axis, or that there are too many combinations.
pub fn cells(axes: &[String]) -> Result<Vec<Vec<(String, String)>>, Mistake> {
    let mistake = |why: String| Mistake { origin: "sweep".to_owned(), why };
    let mut cells = vec![Vec::new()];
    for axis in axes.iter().flat_map(|text| text.split_whitespace()) {
        let parts =
            axis.split_once('=').filter(|(name, values)| !name.is_empty() && !values.is_empty());
        let (name, values) = parts.ok_or_else(|| {
            mistake(format!("expected NAME=VALUE,VALUE such as loss=0%,5%, got {axis:?}"))
        })?;
        let separator = if values.contains('|') { '|' } else { ',' };
        let with = |cell: &Vec<(String, String)>, value: &str| {
            let mut cell = cell.clone();
            cell.push((name.to_owned(), value.trim().to_owned()));
            cell
        };
        cells = cells
            .iter()
            .flat_map(|cell| values.split(separator).map(move |value| with(cell, value)))
            .collect();
        if cells.len() > CELLS_MAX {
            return Err(mistake(format!("expected at most {CELLS_MAX} combinations")));
        }
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_multiply_and_the_last_varies_fastest() {
        let axes = ["loss=0%,5% delay=0ms|normal:40ms,5ms".to_owned()];
        let shown: Vec<String> = cells(&axes)
            .unwrap()
            .iter()
            .map(|cell| cell.iter().map(|(name, value)| format!("{name}={value} ")).collect())
            .collect();
        let wanted = [
            "loss=0% delay=0ms ",
            "loss=0% delay=normal:40ms,5ms ",
            "loss=5% delay=0ms ",
            "loss=5% delay=normal:40ms,5ms ",
        ];
        assert_eq!(shown, wanted);
        let wide = format!("loss={}", ["1%"; 1_001].join(","));
        for wrong in ["loss", "=1%", "loss=", &wide] {
            assert!(cells(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
