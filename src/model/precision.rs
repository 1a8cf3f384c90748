//! How a model's numbers are stored and multiplied.

/// How a model's numbers are stored and multiplied. Sums are f32 whatever the precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    F32,
    /// Weights and most arrays as 16-bit floats, which halves memory and what is read of it, and lets
    /// cooperative matrices multiply. Sums, statistics, softmax, the states of attention and the residual
    /// stream are f32. Whole models are right to 5·10⁻³ instead of 10⁻⁵.
    F16,
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.to_lowercase().as_str() {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            _ => Err("f32 or f16".to_owned()),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        })
    }
}
