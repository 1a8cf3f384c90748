//! A writer of pickles and of stored zip archives, as small as they can be. It shares nothing with the
//! reader, and writes what no honest program would when it is told to.

use perceiver::{Data, NamedTensors, Tensor};

/// A pickle of protocol 2.
pub(crate) struct Pickle(pub(crate) Vec<u8>);

impl Pickle {
    pub(crate) fn new() -> Self {
        Pickle(vec![0x80, 2])
    }

    pub(crate) fn op(mut self, code: u8) -> Self {
        self.0.push(code);
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        let length = (text.len() as u32).to_le_bytes();
        self.op(b'X').bytes(&length).bytes(text.as_bytes())
    }

    pub(crate) fn whole(self, n: i64) -> Self {
        self.op(0x8a).op(8).bytes(&n.to_le_bytes())
    }

    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.bytes(format!("c{module}\n{name}\n").as_bytes())
    }

    pub(crate) fn sizes(self, sizes: &[i64]) -> Self {
        let marked = self.op(b'(');
        sizes.iter().fold(marked, |p, &n| p.whole(n)).op(b't')
    }

    /// A persistent id of a storage.
    pub(crate) fn storage(self, kind: &str, key: &str, len: i64) -> Self {
        self.op(b'(')
            .text("storage")
            .global("torch", kind)
            .text(key)
            .text("cpu")
            .whole(len)
            .bytes(b"tQ")
    }

    /// A tensor of torch.
    pub(crate) fn tensor(
        self,
        (kind, key, len): (&str, &str, i64),
        offset: i64,
        shape: &[i64],
        strides: &[i64],
    ) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op(b'(')
            .storage(kind, key, len)
            .whole(offset)
            .sizes(shape)
            .sizes(strides)
            .op(0x89)
            .global("collections", "OrderedDict")
            .bytes(b")RtR")
    }

    /// The end.
    pub(crate) fn done(self) -> Vec<u8> {
        self.op(b'.').0
    }
}

/// One entry of an archive.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    /// 0 is stored, 8 deflated.
    pub(crate) method: u16,
    /// The size that is stated, if it is not the true one.
    pub(crate) stated: Option<u32>,
}

impl Entry {
    pub(crate) fn new(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Entry { name: name.to_owned(), content: content.into(), method: 0, stated: None }
    }
}

/// A zip archive; with `zip64` all sizes and places are where large archives have them.
pub(crate) fn archive(entries: &[Entry], zip64: bool) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let at = file.len();
        let size = entry.content.len();
        let plain = if zip64 { u32::MAX } else { size as u32 };
        let stated = entry.stated.unwrap_or(plain);
        let wide = |numbers: &[u64]| -> Vec<u8> {
            if !zip64 {
                return Vec::new();
            }
            let mut extra = vec![1, 0];
            extra.extend((8 * numbers.len() as u16).to_le_bytes());
            extra.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
            extra
        };
        let common = |to: &mut Vec<u8>, extra: &[u8]| {
            to.extend([45, 0, 0, 0]);
            to.extend(entry.method.to_le_bytes());
            // Time, date and a checksum that nobody asks for.
            to.extend([0; 8]);
            to.extend(plain.to_le_bytes());
            to.extend(stated.to_le_bytes());
            to.extend((entry.name.len() as u16).to_le_bytes());
            to.extend((extra.len() as u16).to_le_bytes());
        };
        let extra = wide(&[size as u64, size as u64]);
        file.extend(b"PK\x03\x04");
        common(&mut file, &extra);
        file.extend(entry.name.as_bytes());
        file.extend(extra);
        file.extend(&entry.content);
        let extra = wide(&[size as u64, size as u64, at as u64]);
        directory.extend(b"PK\x01\x02");
        directory.extend([45, 0]);
        common(&mut directory, &extra);
        // Comment, disk, attributes.
        directory.extend([0; 10]);
        let place = if zip64 { u32::MAX } else { at as u32 };
        directory.extend(place.to_le_bytes());
        directory.extend(entry.name.as_bytes());
        directory.extend(extra);
    }
    let (start, size, count) = (file.len(), directory.len(), entries.len());
    file.extend(directory);
    if zip64 {
        let end = file.len() as u64;
        file.extend(b"PK\x06\x06");
        file.extend(44u64.to_le_bytes());
        file.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for n in [count, count, size, start] {
            file.extend((n as u64).to_le_bytes());
        }
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(end.to_le_bytes());
        file.extend(1u32.to_le_bytes());
    }
    file.extend(b"PK\x05\x06\0\0\0\0");
    let short = |n: usize| if zip64 { u16::MAX } else { n as u16 };
    let long = |n: usize| if zip64 { u32::MAX } else { n as u32 };
    file.extend(short(count).to_le_bytes());
    file.extend(short(count).to_le_bytes());
    file.extend(long(size).to_le_bytes());
    file.extend(long(start).to_le_bytes());
    file.extend([0, 0]);
    file
}

/// The archive of a pickle and its storages, little-endian.
pub(crate) fn torch(pickle: Vec<u8>, storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut entries = vec![Entry::new("m/data.pkl", pickle)];
    for (key, content) in storages {
        entries.push(Entry::new(&format!("m/data/{key}"), content.clone()));
    }
    archive(&entries, false)
}

/// The elements of a tensor as torch stores them.
pub(crate) fn elements(tensor: &Tensor) -> (&'static str, Vec<u8>) {
    match tensor.data() {
        Data::F32(v) => ("FloatStorage", v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::I64(v) => ("LongStorage", v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        other => panic!("{other:?}"),
    }
}

/// A `pytorch_model.bin` of these tensors, all contiguous.
pub(crate) fn state_dict(tensors: &NamedTensors) -> Vec<u8> {
    let mut pickle = Pickle::new().global("collections", "OrderedDict").bytes(b")R(");
    let mut storages = Vec::new();
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        let (kind, content) = elements(tensor);
        let shape: Vec<i64> = tensor.shape().iter().map(|&n| n as i64).collect();
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        let key = i.to_string();
        let count: i64 = shape.iter().product();
        pickle = pickle.text(name).tensor((kind, &key, count), 0, &shape, &strides);
        storages.push((key, content));
    }
    let pickle = pickle.op(b'u').done();
    let storages: Vec<_> =
        storages.iter().map(|(key, content)| (key.as_str(), content.clone())).collect();
    torch(pickle, &storages)
}
