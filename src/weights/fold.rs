//! Arithmetic of the fold: from the tensors of a checkpoint to folded arrays, in f64.
//!
//! With x̂ = (x − μ)/σ the normalised row and LN(x) = g ⊙ x̂ + b, a product M·LN(x) is
//! r·(M ⊙ g, each row minus its mean)·x + M·b with r = 1/σ: the mean of a row of weights is what the
//! row's mean would be multiplied with. Then x is replaced by its factors: columns of tables become
//! products with those tables, columns of the constant a single number.

use super::positions::fourier_tables;
use crate::error::Result;
use crate::graph::{Factored, Fold, Folded, Named, Pauses};
use crate::memory::{collected, zeroed};

/// What messages call an array that is folded.
const WHAT: &str = "a folded parameter";

/// Reads a tensor and checks its number of elements.
pub(super) type Read<'a> = dyn Fn(&str, usize) -> Result<Vec<f32>> + Sync + 'a;

/// A dense matrix, row-major.
struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    fn zeros(rows: usize, cols: usize) -> Result<Self> {
        Ok(Matrix { rows, cols, data: zeroed(WHAT, rows * cols)? })
    }

    fn view(&self) -> View<'_> {
        View { data: &self.data, rows: self.rows, cols: self.cols, step: self.cols, turned: false }
    }

    fn row(&self, r: usize) -> &[f64] {
        &self.data[r * self.cols..(r + 1) * self.cols]
    }
}

/// Some rows and columns of a matrix, transposed or not.
#[derive(Clone, Copy)]
struct View<'a> {
    /// From the first element on.
    data: &'a [f64],
    rows: usize,
    cols: usize,
    /// Elements from one row of the matrix to the next.
    step: usize,
    turned: bool,
}

impl<'a> View<'a> {
    fn transpose(self) -> Self {
        View { turned: !self.turned, ..self }
    }

    /// Rows of a view that is not transposed.
    fn subrows(self, first: usize, rows: usize) -> Self {
        View { data: &self.data[first * self.step..], rows, ..self }
    }

    /// Columns of a view that is not transposed.
    fn subcols(self, first: usize, cols: usize) -> Self {
        View { data: &self.data[first..], cols, ..self }
    }

    fn size(self) -> [usize; 2] {
        if self.turned { [self.cols, self.rows] } else { [self.rows, self.cols] }
    }

    #[cfg(feature = "cpu")]
    fn faer(self) -> faer::MatRef<'a, f64> {
        let data = &self.data[..(self.rows - 1) * self.step + self.cols];
        let view =
            faer::MatRef::from_row_major_slice_with_stride(data, self.rows, self.cols, self.step);
        if self.turned { view.transpose() } else { view }
    }

    #[cfg(not(feature = "cpu"))]
    fn at(self, row: usize, col: usize) -> f64 {
        let (row, col) = if self.turned { (col, row) } else { (row, col) };
        self.data[row * self.step + col]
    }
}

/// A·B.
async fn product(a: View<'_>, b: View<'_>, pauses: &mut dyn Pauses) -> Result<Matrix> {
    let ([rows, inner], [_, cols]) = (a.size(), b.size());
    let mut result = Matrix::zeros(rows, cols)?;
    if inner > 0 && !result.data.is_empty() {
        #[cfg(feature = "cpu")]
        {
            use faer::{Accum, MatMut, Par, linalg::matmul::matmul};
            let out = MatMut::from_row_major_slice_mut(&mut result.data, rows, cols);
            matmul(out, Accum::Replace, a.faer(), b.faer(), 1.0, Par::rayon(0));
            if let Some(pause) = pauses.due() {
                pause.await?;
            }
        }
        #[cfg(not(feature = "cpu"))]
        for (row, out) in result.data.chunks_exact_mut(cols).enumerate() {
            for k in 0..inner {
                let factor = a.at(row, k);
                for (col, out) in out.iter_mut().enumerate() {
                    *out += factor * b.at(k, col);
                }
            }
            if let Some(pause) = pauses.due() {
                pause.await?;
            }
        }
    }
    Ok(result)
}

/// A vector of the checkpoint.
fn vector(read: &Read<'_>, name: &str, len: usize) -> Result<Vec<f64>> {
    collected(WHAT, read(name, len)?.into_iter().map(f64::from))
}

/// Weight `[output, input]` and bias of a linear layer.
fn linear(read: &Read<'_>, layer: &Named) -> Result<(Matrix, Vec<f64>)> {
    let weight = vector(read, &format!("{}.weight", layer.name), layer.output * layer.input)?;
    let bias = vector(read, &format!("{}.bias", layer.name), layer.output)?;
    let weight = Matrix { rows: layer.output, cols: layer.input, data: weight };
    Ok((weight, bias))
}

/// Σ row ⊙ vector for each row, and a bias.
fn through(matrix: &Matrix, vector: &[f64], bias: &[f64]) -> Vec<f64> {
    (0..matrix.rows)
        .zip(bias)
        .map(|(r, b)| matrix.row(r).iter().zip(vector).map(|(a, b)| a * b).sum::<f64>() + b)
        .collect()
}

/// Folds gain and mean of a row's LayerNorm into weights `[.., channels]`.
fn fold_norm(mut weights: Matrix, gain: &[f64]) -> Matrix {
    let cols = weights.cols;
    for row in weights.data.chunks_exact_mut(cols.max(1)) {
        for (w, g) in row.iter_mut().zip(gain) {
            *w *= g;
        }
        let mean = row.iter().sum::<f64>() / cols as f64;
        for w in row {
            *w -= mean;
        }
    }
    weights
}

/// Tables `[Σ axes, 1 + 2·bands]` of a modality.
fn tables(rows: &Factored) -> Result<Matrix> {
    let Some(p) = &rows.positions else {
        return Matrix::zeros(0, 0);
    };
    let data = collected(WHAT, fourier_tables(p)?.into_iter().map(f64::from))?;
    Ok(Matrix { rows: p.axes.iter().sum(), cols: 1 + 2 * p.bands, data })
}

/// Learned vectors one after the other.
fn constant(read: &Read<'_>, parts: &[(String, usize)]) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for (name, channels) in parts {
        all.extend(vector(read, name, *channels)?);
    }
    Ok(all)
}

/// Weights `[R, channels]` of whole rows as weights `[R, columns]` of their factors.
async fn expand(
    read: &Read<'_>,
    fold: &Fold,
    weights: &Matrix,
    pauses: &mut dyn Pauses,
) -> Result<Matrix> {
    let (starts, columns) = fold.columns();
    let mut expanded = Matrix::zeros(weights.rows, columns)?;
    for (rows, start) in fold.modalities.iter().zip(starts) {
        let factors = rows.factors();
        for r in 0..weights.rows {
            let to = &mut expanded.data[r * columns + start..][..rows.content];
            to.copy_from_slice(&weights.row(r)[..rows.content]);
        }
        let tables = tables(rows)?;
        let mut first = 0;
        for axis in 0..factors.dimensions {
            let length = factors.axes[axis];
            // The columns of this axis, in the order of its table.
            let mut own = Matrix::zeros(weights.rows, tables.cols)?;
            for r in 0..weights.rows {
                for e in 0..tables.cols {
                    own.data[r * tables.cols + e] = weights.row(r)[rows.feature_channel(axis, e)];
                }
            }
            let table = tables.view().subrows(first, length);
            let entries = product(own.view(), table.transpose(), pauses).await?;
            let at = start + factors.axis_column(axis);
            for r in 0..weights.rows {
                expanded.data[r * columns + at..][..length].copy_from_slice(entries.row(r));
            }
            first += length;
        }
        let learned = constant(read, &rows.constant)?;
        let channel = rows.channels() - learned.len();
        let at = start + factors.constant_column();
        for r in 0..weights.rows {
            let own = weights.row(r)[channel..].iter().zip(&learned);
            expanded.data[r * columns + at] = own.map(|(w, c)| w * c).sum();
        }
    }
    Ok(expanded)
}

/// Gain and bias of the rows' LayerNorm.
fn norm(read: &Read<'_>, fold: &Fold) -> Result<(Vec<f64>, Vec<f64>)> {
    Ok((
        vector(read, &format!("{}.weight", fold.norm), fold.channels)?,
        vector(read, &format!("{}.bias", fold.norm), fold.channels)?,
    ))
}

/// Query weights `[qk, columns]` of a decoder, the constant score in the column after each constant.
async fn queries(
    read: &Read<'_>,
    fold: &Fold,
    query: &Named,
    pauses: &mut dyn Pauses,
) -> Result<Matrix> {
    let (gain, bias) = norm(read, fold)?;
    let (weight, weight_bias) = linear(read, query)?;
    let scale = 1.0 / (query.output as f64).sqrt();
    let constant = through(&weight, &bias, &weight_bias);
    let mut expanded = expand(read, fold, &fold_norm(weight, &gain), pauses).await?;
    let (starts, columns) = fold.columns();
    for (rows, start) in fold.modalities.iter().zip(starts) {
        let at = start + rows.factors().constant_column() + 1;
        for (r, c) in constant.iter().enumerate() {
            expanded.data[r * columns + at] = *c;
        }
    }
    for x in &mut expanded.data {
        *x *= scale;
    }
    Ok(expanded)
}

/// Evaluates a folded array: rows, columns, elements.
pub(super) async fn evaluate(
    folded: &Folded,
    read: &Read<'_>,
    pauses: &mut dyn Pauses,
) -> Result<Vec<f64>> {
    match folded {
        Folded::Keys { fold, key, heads } => {
            let (gain, _) = norm(read, fold)?;
            let (weight, _) = linear(read, key)?;
            let expanded = expand(read, fold, &fold_norm(weight, &gain), pauses).await?;
            let scale = 1.0 / (heads.width as f64).sqrt();
            let columns = expanded.cols;
            let [rows, cols] = folded.shape();
            let mut result = zeroed(WHAT, rows * cols)?;
            for head in 0..heads.heads {
                for d in 0..heads.width {
                    let from = expanded.row(head * heads.width + d);
                    let at = (head * heads.stride() + d) * cols + head * columns;
                    for (to, x) in result[at..at + columns].iter_mut().zip(from) {
                        *to = x * scale;
                    }
                }
            }
            Ok(result)
        }
        Folded::Values { fold, value, output, heads } => {
            let (gain, _) = norm(read, fold)?;
            let (value_weight, _) = linear(read, value)?;
            let (output_weight, _) = linear(read, output)?;
            let width = value.output / heads.max(&1);
            let columns = fold.columns().1;
            let mut result = zeroed(WHAT, heads * columns * output.output)?;
            for head in 0..*heads {
                // W_o of this head's channels times W_v of this head.
                let o = output_weight.view().subcols(head * width, width);
                let v = value_weight.view().subrows(head * width, width);
                let composed = fold_norm(product(o, v, pauses).await?, &gain);
                let expanded = expand(read, fold, &composed, pauses).await?;
                for d in 0..output.output {
                    for (z, x) in expanded.row(d).iter().enumerate() {
                        result[(head * columns + z) * output.output + d] = *x;
                    }
                }
            }
            Ok(result)
        }
        Folded::Queries { fold, query, key } => {
            let (key_weight, _) = linear(read, key)?;
            let queries = queries(read, fold, query, pauses).await?;
            Ok(product(key_weight.view().transpose(), queries.view(), pauses).await?.data)
        }
        Folded::Composed { first, second } => {
            let (a, _) = linear(read, first)?;
            let (b, _) = linear(read, second)?;
            Ok(product(a.view().transpose(), b.view().transpose(), pauses).await?.data)
        }
        Folded::Bias(weight) => bias_of(weight, read, pauses).await,
        Folded::Moments { rows } => {
            let tables = tables(rows)?;
            let moments = |row: &[f64]| [row.iter().sum(), row.iter().map(|x| x * x).sum()];
            let mut result: Vec<f64> =
                (0..tables.rows).flat_map(|r| moments(tables.row(r))).collect();
            result.extend(moments(&constant(read, &rows.constant)?));
            Ok(result)
        }
        Folded::Constant { parts } => constant(read, parts),
    }
}

/// The bias that goes with a folded weight; zeros where none does.
async fn bias_of(weight: &Folded, read: &Read<'_>, pauses: &mut dyn Pauses) -> Result<Vec<f64>> {
    match weight {
        Folded::Values { fold, value, output, .. } => {
            let (_, bias) = norm(read, fold)?;
            let (value_weight, value_bias) = linear(read, value)?;
            let (output_weight, output_bias) = linear(read, output)?;
            let values = through(&value_weight, &bias, &value_bias);
            Ok(through(&output_weight, &values, &output_bias))
        }
        Folded::Queries { fold, query, key } => {
            let (_, key_bias) = linear(read, key)?;
            let queries = queries(read, fold, query, pauses).await?;
            let bias = Matrix { rows: 1, cols: key.output, data: key_bias };
            Ok(product(bias.view(), queries.view(), pauses).await?.data)
        }
        Folded::Composed { first, second } => {
            let (_, first_bias) = linear(read, first)?;
            let (weight, bias) = linear(read, second)?;
            Ok(through(&weight, &first_bias, &bias))
        }
        other => zeroed(WHAT, other.shape()[1]),
    }
}
