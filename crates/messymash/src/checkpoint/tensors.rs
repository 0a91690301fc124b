//! Reading a safetensors file tensor by tensor, from memory or from disk, so that a model is never in memory twice.
//!
//! Stored types: F32, F16, BF16, and I8 with a scale per output in a second tensor, `<name>_scale` (what
//! `messymash quantize` writes).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use half::{bf16, f16};
use messymash_kernels::int8::Quantized;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::ast::Values;

/// What follows the name of a quantised tensor in that of its scales.
pub(super) const SCALE: &str = "_scale";

/// The longest header that is read, as in the safetensors crate.
const MOST_HEADER: u64 = 100_000_000;

/// An open file: what is in it, and where.
pub(super) struct TensorFile<'a> {
    bytes: Bytes<'a>,
    data_start: u64,
    infos: BTreeMap<String, TensorInfo>,
}

enum Bytes<'a> {
    Memory(&'a [u8]),
    Disk(File),
}

impl Bytes<'_> {
    fn len(&self) -> std::io::Result<u64> {
        match self {
            Bytes::Memory(bytes) => Ok(bytes.len() as u64),
            Bytes::Disk(file) => Ok(file.metadata()?.len()),
        }
    }

    fn read_at(&mut self, at: u64, out: &mut [u8]) -> std::io::Result<()> {
        match self {
            Bytes::Memory(bytes) => {
                let rest = bytes.get(at as usize..).unwrap_or_default();
                (&mut &*rest).read_exact(out)
            }
            Bytes::Disk(file) => {
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(out)
            }
        }
    }
}

impl<'a> TensorFile<'a> {
    /// Opens a file on disk; the error is one of the file system.
    pub(super) fn open(path: &Path) -> std::io::Result<Result<Self, String>> {
        Self::new(Bytes::Disk(File::open(path)?))
    }

    /// Reads from memory.
    pub(super) fn from_bytes(bytes: &'a [u8]) -> Result<Self, String> {
        Self::new(Bytes::Memory(bytes)).unwrap_or_else(|e| Err(e.to_string()))
    }

    fn new(mut bytes: Bytes<'a>) -> std::io::Result<Result<Self, String>> {
        let len = bytes.len()?;
        let mut size = [0; 8];
        if len < 8 {
            return Ok(Err("the file is too short to be a safetensors file".into()));
        }
        bytes.read_at(0, &mut size)?;
        let size = u64::from_le_bytes(size);
        if size > MOST_HEADER || size + 8 > len {
            return Ok(Err(
                "it does not begin as a safetensors file does, or its end is missing".into(),
            ));
        }
        let mut header = vec![0; size as usize];
        bytes.read_at(8, &mut header)?;
        let metadata: Metadata = match serde_json::from_slice(&header) {
            Ok(metadata) => metadata,
            Err(e) => return Ok(Err(format!("its header cannot be read: {e}"))),
        };
        // Metadata is checked when it is made: tensors touch, and are as long as their shapes say.
        if size + 8 + metadata.data_len() as u64 != len {
            return Ok(Err(
                "its end is missing, or there is more than the header says".into()
            ));
        }
        let infos = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.clone()))
            .collect();
        Ok(Ok(Self {
            bytes,
            data_start: 8 + size,
            infos,
        }))
    }

    /// The tensors by name. Renaming or removing them here does so for [`TensorFile::read`].
    pub(super) fn infos_mut(&mut self) -> &mut BTreeMap<String, TensorInfo> {
        &mut self.infos
    }

    pub(super) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.infos.get(name)
    }

    /// The values of a tensor, as they are stored; what is wrong with it, if something is.
    pub(super) fn read(&mut self, name: &str) -> Result<Values, String> {
        let Some(info) = self.infos.get(name).cloned() else {
            return Err("it is missing".into());
        };
        let len: usize = info.shape.iter().product();
        match info.dtype {
            Dtype::F32 => {
                let mut values = vec![0.0f32; len];
                self.bytes_of(&info, bytemuck::cast_slice_mut(&mut values))?;
                if cfg!(target_endian = "big") {
                    values
                        .iter_mut()
                        .for_each(|x| *x = f32::from_bits(x.to_bits().swap_bytes()));
                }
                Ok(Values::F32(values))
            }
            Dtype::F16 | Dtype::BF16 => {
                let mut stored = vec![0; 2 * len];
                self.bytes_of(&info, &mut stored)?;
                let pairs = stored.as_chunks::<2>().0.iter();
                Ok(Values::F32(match info.dtype {
                    Dtype::F16 => pairs.map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
                    _ => pairs.map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
                }))
            }
            Dtype::I8 => {
                let rows = info.shape.first().copied().unwrap_or(0);
                let scales = self.info(&format!("{name}{SCALE}"));
                if scales.is_none_or(|scales| scales.dtype != Dtype::F32 || scales.shape != [rows]) {
                    return Err(format!("its {rows} scales ({name}{SCALE}) are missing"));
                }
                let scales = self.read(&format!("{name}{SCALE}"))?.into_f32();
                let mut values = vec![0i8; len];
                self.bytes_of(&info, bytemuck::cast_slice_mut(&mut values))?;
                Ok(Values::Int8(Quantized { values, scales }))
            }
            other => Err(format!(
                "it is stored as {other:?}; only F32, F16, BF16 and I8 with scales are known"
            )),
        }
    }

    fn bytes_of(&mut self, info: &TensorInfo, out: &mut [u8]) -> Result<(), String> {
        let at = self.data_start + info.data_offsets.0 as u64;
        self.bytes.read_at(at, out).map_err(|e| e.to_string())
    }
}
