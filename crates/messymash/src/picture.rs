//! Small pictures made of numbers, as PNG: a palette, and one of its colours for every pixel.

use base64::Engine;

use crate::{Error, Result};

/// Red, green, blue.
pub type Colour = [u8; 3];

/// A PNG file in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The file.
    pub png: Vec<u8>,
}

impl Picture {
    /// A picture of `pixels`, row by row from the upper left, each the number of a colour of `palette`.
    ///
    /// # Errors
    /// [`Error::Config`] if the picture is empty, the pixels are not `width` times some whole number, or the palette has no or
    /// more than 256 colours.
    pub fn of_palette(palette: &[Colour], pixels: &[u8], width: usize) -> Result<Self> {
        let failed =
            |what: &dyn std::fmt::Display| Error::Config(format!("a picture cannot be made: {what}"));
        if width == 0 || pixels.is_empty() || !pixels.len().is_multiple_of(width) {
            return Err(failed(&format_args!(
                "{} pixels in rows of {width}",
                pixels.len()
            )));
        }
        if !(1..=256).contains(&palette.len()) {
            return Err(failed(&format_args!("{} colours", palette.len())));
        }
        let size = |pixels: usize| u32::try_from(pixels).map_err(|error| failed(&error));
        let (columns, rows) = (size(width)?, size(pixels.len() / width)?);
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, columns, rows);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(palette.concat());
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header().map_err(|error| failed(&error))?;
        writer.write_image_data(pixels).map_err(|error| failed(&error))?;
        writer.finish().map_err(|error| failed(&error))?;
        Ok(Self {
            width: columns,
            height: rows,
            png,
        })
    }

    /// The file as the address of a picture that is within a page.
    pub fn data_uri(&self) -> String {
        let encoded = base64::engine::general_purpose::STANDARD.encode(&self.png);
        format!("data:image/png;base64,{encoded}")
    }
}

/// `steps` colours (at least two) from the first of `anchors` to the last, evenly by way of the others.
pub fn palette(anchors: &[Colour], steps: usize) -> Vec<Colour> {
    let last = anchors.len().saturating_sub(1);
    (0..steps)
        .map(|step| {
            let at = step as f32 / (steps.max(2) - 1) as f32 * last as f32;
            let (before, share) = ((at as usize).min(last), at.fract());
            let (from, to) = (anchors[before], anchors[(before + 1).min(last)]);
            std::array::from_fn(|c| {
                let (from, to) = (f32::from(from[c]), f32::from(to[c]));
                (from + share * (to - from)).round() as u8
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_sees_the_colours_that_were_meant() {
        let colours = palette(&[[0, 0, 0], [200, 100, 50]], 3);
        assert_eq!(colours, [[0, 0, 0], [100, 50, 25], [200, 100, 50]]);
        let picture = Picture::of_palette(&colours, &[0, 1, 2, 2, 1, 0], 3).unwrap();
        assert_eq!((picture.width, picture.height), (3, 2));
        let mut decoder = png::Decoder::new(std::io::Cursor::new(&picture.png));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels[3..9], [100, 50, 25, 200, 100, 50]);
        assert_eq!(pixels.len(), 18);
        assert!(
            picture
                .data_uri()
                .starts_with("data:image/png;base64,iVBORw0KGgo")
        );
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for (colours, pixels, width) in [(1, 0, 1), (1, 5, 2), (1, 4, 0), (0, 4, 2), (257, 4, 2)] {
            let palette = vec![[0; 3]; colours];
            assert!(Picture::of_palette(&palette, &vec![0; pixels], width).is_err());
        }
    }
}
