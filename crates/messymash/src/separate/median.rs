//! Running medians over a spectrogram, in time proportional to the width at worst, and in practice to a short move of
//! memory: the window is kept sorted.

/// Median of `width` (odd) neighbours along each row of `values` [rows, columns]; rows are mirrored at their ends.
pub(super) fn along_rows(values: &[f32], columns: usize, width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    let mut window = Window::new(width);
    for row in values.chunks_exact(columns) {
        window.run(row, |median| out.push(median));
    }
    out
}

/// Median of `width` (odd) neighbours along each column of `values` [rows, columns], mirrored likewise.
pub(super) fn along_columns(values: &[f32], columns: usize, width: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    let mut window = Window::new(width);
    let mut column = Vec::with_capacity(values.len() / columns);
    for index in 0..columns {
        column.clear();
        column.extend(values.iter().skip(index).step_by(columns));
        let mut places = out.iter_mut().skip(index).step_by(columns);
        window.run(&column, |median| {
            if let Some(place) = places.next() {
                *place = median;
            }
        });
    }
    out
}

/// The sorted values of a window.
#[derive(Debug)]
struct Window {
    half: usize,
    sorted: Vec<f32>,
    /// The line with its mirrored ends.
    line: Vec<f32>,
}

impl Window {
    fn new(width: usize) -> Self {
        Self {
            half: width / 2,
            sorted: Vec::with_capacity(width + 1),
            line: Vec::new(),
        }
    }

    /// Gives the median around each value of `line`, in order.
    fn run(&mut self, line: &[f32], mut give: impl FnMut(f32)) {
        let (half, last) = (self.half, line.len().saturating_sub(1));
        self.line.clear();
        // Half-sample mirror (c b a | a b c): each value counts as often as its distance says.
        self.line
            .extend((1..=half).rev().map(|i| line[(i - 1).min(last)]));
        self.line.extend_from_slice(line);
        self.line.extend((0..half).map(|i| line[last.saturating_sub(i)]));
        self.sorted.clear();
        self.sorted.extend_from_slice(&self.line[..2 * half]);
        self.sorted.sort_unstable_by(f32::total_cmp);
        for (oldest, newest) in self.line.iter().zip(&self.line[2 * half..]) {
            let place = self.sorted.partition_point(|x| x < newest);
            self.sorted.insert(place, *newest);
            give(self.sorted[half]);
            let place = self.sorted.partition_point(|x| x < oldest);
            self.sorted.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(line: &[f32], half: isize) -> Vec<f32> {
        let length = line.len() as isize;
        (0..length)
            .map(|centre| {
                let mut window: Vec<f32> = (centre - half..=centre + half)
                    .map(|i| {
                        if i < 0 {
                            -i - 1
                        } else if i >= length {
                            2 * length - 1 - i
                        } else {
                            i
                        }
                    })
                    .map(|i| line[i.clamp(0, length - 1) as usize])
                    .collect();
                window.sort_by(f32::total_cmp);
                window[half as usize]
            })
            .collect()
    }

    #[test]
    fn both_directions_are_medians() {
        let (rows, columns) = (23, 31);
        let values: Vec<f32> = (0..rows * columns).map(|i| ((i * 7919) % 101) as f32).collect();
        for width in [3, 7, 21] {
            let half = (width / 2) as isize;
            let by_rows: Vec<f32> = values
                .chunks(columns)
                .flat_map(|row| reference(row, half))
                .collect();
            assert_eq!(along_rows(&values, columns, width), by_rows);
            let by_columns = along_columns(&values, columns, width);
            for column in 0..columns {
                let line: Vec<f32> = values.iter().skip(column).step_by(columns).copied().collect();
                let found: Vec<f32> = by_columns.iter().skip(column).step_by(columns).copied().collect();
                assert_eq!(found, reference(&line, half));
            }
        }
    }

    #[test]
    fn lines_shorter_than_the_window_are_fine() {
        assert_eq!(along_rows(&[3.0, 1.0], 2, 9), reference(&[3.0, 1.0], 4));
        assert_eq!(along_columns(&[5.0, 4.0], 2, 9), [5.0, 4.0]);
    }
}
