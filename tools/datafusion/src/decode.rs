//! `perceiver_decode`: queries of an output, decoded from latents.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, ListArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Int64Type};
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs};
use perceiver::Tensor;
use perceiver::stream::{Decoder, Latents, Queries};

use crate::scalar::{Scalar, offsets};
use crate::shared::{Output, Shared, external, listed, rows_type};

/// See the module.
pub(crate) struct Decode;

const USAGE: &str = "takes latents, as perceiver_encode gives them, then the output's name where there are several, then which queries (a number, or a list of them; all where it is left out), and then a list of the numbers that the queries bring along, where they do";

/// Which of the arguments there are.
#[derive(Clone, Copy, Default)]
struct Places {
    output: Option<usize>,
    points: Option<usize>,
    content: Option<usize>,
}

fn is_list(found: &DataType) -> Option<&DataType> {
    match found {
        DataType::List(of)
        | DataType::LargeList(of)
        | DataType::ListView(of)
        | DataType::LargeListView(of)
        | DataType::FixedSizeList(of, _) => Some(of.data_type()),
        _ => None,
    }
}

fn list_type(of: DataType) -> DataType {
    DataType::List(Field::new_list_field(of, true).into())
}

fn places(function: &str, given: &[DataType]) -> Result<Places> {
    let mut places = Places::default();
    for (i, found) in given.iter().enumerate().skip(1) {
        let inner = is_list(found).unwrap_or(found);
        let place = match found {
            _ if found.is_string() && i == 1 => &mut places.output,
            _ if inner.is_integer() && places.points.is_none() && places.content.is_none() => {
                &mut places.points
            }
            _ if inner.is_numeric() && inner != found && places.content.is_none() => {
                &mut places.content
            }
            _ => return plan_err!("{function} {USAGE}; argument {} is {found}", i + 1),
        };
        *place = Some(i);
    }
    Ok(places)
}

impl Scalar for Decode {
    fn coerce(&self, function: &str, shared: &Shared, given: &[DataType]) -> Result<Vec<DataType>> {
        shared.outputs(function)?;
        let [n, d] = [shared.blueprint.latents.rows, shared.blueprint.latents.channels];
        match given.first() {
            Some(found) if is_list(found).and_then(is_list).is_some_and(DataType::is_numeric) => {
                let size = |list: &DataType| match list {
                    DataType::FixedSizeList(of, n) => Some((usize::try_from(*n).ok(), of.clone())),
                    _ => None,
                };
                let outer = size(found);
                let inner = outer.as_ref().and_then(|(_, of)| size(of.data_type()));
                let other = |found: Option<usize>, own| found.is_some_and(|found| found != own);
                if other(outer.and_then(|o| o.0), n) || other(inner.and_then(|i| i.0), d) {
                    return plan_err!(
                        "{function}: latents are {n} lists of {d} numbers, not {found}"
                    );
                }
            }
            Some(found) => {
                return plan_err!(
                    "{function} {USAGE}; the latents ({n} lists of {d} numbers) are {found}"
                );
            }
            None => return plan_err!("{function} {USAGE}; found no arguments"),
        }
        let places = places(function, given)?;
        let mut types = vec![shared.latents_type()];
        for (i, found) in given.iter().enumerate().skip(1) {
            types.push(match i {
                _ if places.output == Some(i) => DataType::Utf8,
                _ if places.content == Some(i) => list_type(DataType::Float32),
                _ if is_list(found).is_some() => list_type(DataType::Int64),
                _ => DataType::Int64,
            });
        }
        Ok(types)
    }

    fn returns(
        &self,
        function: &str,
        shared: &Shared,
        args: &ReturnFieldArgs<'_>,
    ) -> Result<DataType> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let places = places(function, &types)?;
        let name = places.output.map(|at| match args.scalar_arguments.get(at) {
            Some(Some(value)) => value.try_as_str().flatten(),
            _ => None,
        });
        let output = match name {
            Some(None) => return plan_err!("{function}: the output's name must be a literal"),
            name => output(function, shared, name.flatten())?,
        };
        let n = output.channels;
        match (places.content, places.points) {
            (None, _) if n > 0 => {
                return plan_err!(
                    "{function}: each query of '{}' brings {n} numbers along: {USAGE}",
                    output.name
                );
            }
            (Some(_), _) if n == 0 => {
                return plan_err!(
                    "{function}: queries of '{}' bring no numbers along: {USAGE}",
                    output.name
                );
            }
            _ => {}
        }
        let row = rows_type(DataType::Float32, output.columns);
        Ok(match places.points {
            Some(at) if is_list(&types[at]).is_none() => row,
            _ => DataType::List(Field::new_list_field(row, false).into()),
        })
    }

    fn invoke(
        &self,
        function: &str,
        shared: &Shared,
        args: ScalarFunctionArgs,
    ) -> Result<ArrayRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let places = places(function, &types)?;
        let name = match places.output.map(|at| &args.args[at]) {
            Some(ColumnarValue::Scalar(value)) => value.try_as_str().flatten(),
            _ => None,
        };
        let batch = Batch::new(function, shared, output(function, shared, name)?, places, &args)?;
        batch.decode(args.return_field)
    }
}

/// The output of a name, or the only one.
fn output<'a>(function: &str, shared: &'a Shared, name: Option<&str>) -> Result<&'a Output> {
    let outputs = shared.outputs(function)?;
    let known = || listed(outputs.iter().map(|o| &o.name));
    match (name, outputs) {
        (None, [only]) => Ok(only),
        (None, _) => plan_err!("{function}: which output? One of {}", known()),
        (Some(name), _) => match outputs.iter().find(|o| o.name == name) {
            Some(output) => Ok(output),
            None => plan_err!("{function}: no output '{name}', but {}", known()),
        },
    }
}

/// The columns of a batch, those that are the same in all rows once.
struct Batch<'a> {
    function: &'a str,
    shared: &'a Shared,
    output: &'a Output,
    rows: usize,
    latents: (FixedSizeListArray, bool),
    points: Option<(ArrayRef, bool)>,
    content: Option<(ListArray, bool)>,
}

impl<'a> Batch<'a> {
    fn new(
        function: &'a str,
        shared: &'a Shared,
        output: &'a Output,
        places: Places,
        args: &ScalarFunctionArgs,
    ) -> Result<Self> {
        let column = |at: usize| {
            let value = &args.args[at];
            let once = matches!(value, ColumnarValue::Scalar(_));
            Ok::<_, datafusion::error::DataFusionError>((
                value.to_array(if once { 1 } else { args.number_rows })?,
                once,
            ))
        };
        let (latents, once) = column(0)?;
        let found = latents.as_fixed_size_list_opt().cloned();
        let wrong =
            |what: &str| exec_datafusion_err!("{function} {USAGE}; {what} are of another type");
        let latents = (found.ok_or_else(|| wrong("the latents"))?, once);
        let content = match places.content.map(column).transpose()? {
            Some((lists, once)) => {
                let found = lists.as_list_opt::<i32>().cloned();
                Some((found.ok_or_else(|| wrong("the numbers"))?, once))
            }
            None => None,
        };
        let points = places.points.map(column).transpose()?;
        Ok(Batch { function, shared, output, rows: args.number_rows, latents, points, content })
    }

    /// The latents of a row; `None` where they are NULL.
    fn latents(&self, row: usize) -> Result<Option<&[f32]>> {
        let (lists, once) = &self.latents;
        let row = if *once { 0 } else { row };
        let inner = lists.values().as_fixed_size_list();
        let numbers = inner.values().as_primitive::<Float32Type>();
        let each = (lists.value_length() * inner.value_length()) as usize;
        if lists.is_null(row) {
            return Ok(None);
        }
        if inner.null_count() + numbers.null_count() > 0 {
            return exec_err!("{}: the latents have a NULL inside", self.function);
        }
        Ok(Some(&numbers.values()[row * each..(row + 1) * each]))
    }

    /// The queries of a row, `None` where they are NULL.
    fn points(&self, row: usize, content: usize) -> Result<Option<Vec<usize>>> {
        let Output { queries, channels, .. } = *self.output;
        let Some((column, once)) = &self.points else {
            return Ok(Some(match channels {
                0 => (0..queries).collect(),
                n => (0..content / n).collect(),
            }));
        };
        let row = if *once { 0 } else { row };
        if column.is_null(row) {
            return Ok(None);
        }
        let list = column.as_list_opt::<i32>().map(|lists| lists.value(row));
        let one = column.slice(row, 1);
        let numbers: &Int64Array = list.as_ref().unwrap_or(&one).as_primitive::<Int64Type>();
        let number = |n: Option<i64>| match n.map(usize::try_from) {
            Some(Ok(n)) if n < queries => Ok(n),
            Some(_) => {
                let (function, name) = (self.function, &self.output.name);
                let (n, last) = (n.unwrap_or(0), queries.saturating_sub(1));
                exec_err!("{function}: '{name}' has no query {n}, but 0 to {last}")
            }
            None => exec_err!("{}: a query in a list is NULL", self.function),
        };
        numbers.iter().map(number).collect::<Result<_>>().map(Some)
    }

    /// What the queries of a row bring along; `None` where it is NULL.
    fn content(&self, row: usize) -> Result<Option<Vec<f32>>> {
        let Some((lists, once)) = &self.content else {
            return Ok(Some(Vec::new()));
        };
        let row = if *once { 0 } else { row };
        if lists.is_null(row) {
            return Ok(None);
        }
        let list = lists.value(row);
        let numbers = list.as_primitive::<Float32Type>();
        match numbers.null_count() {
            0 => Ok(Some(numbers.values().to_vec())),
            _ => exec_err!("{}: a number that a query brings along is NULL", self.function),
        }
    }

    fn decode(&self, field: FieldRef) -> Result<ArrayRef> {
        let (columns, name) = (self.output.columns, &self.output.name);
        let mut data = Vec::new();
        let (mut counts, mut valid) = (Vec::new(), Vec::new());
        let (mut decoder, mut row) = (None, 0);
        while row < self.rows {
            let Some(latents) = self.latents(row)? else {
                counts.push(0);
                valid.push(false);
                row += 1;
                continue;
            };
            // Rows of the same latents are decoded together.
            let (mut points, mut content) = (Vec::new(), Vec::new());
            while row < self.rows && self.latents(row)? == Some(latents) {
                let own = self.content(row)?;
                let asked = self.points(row, own.as_ref().map_or(0, Vec::len))?;
                let known = own.zip(asked);
                valid.push(known.is_some());
                let (own, asked) = known.unwrap_or_default();
                if own.len() != asked.len() * self.output.channels {
                    let (function, n) = (self.function, self.output.channels);
                    let (queries, found) = (asked.len(), own.len());
                    return exec_err!(
                        "{function}: each query of '{name}' brings {n} numbers along; {queries} queries have {found}"
                    );
                }
                counts.push(asked.len());
                points.extend(asked);
                content.extend(own);
                row += 1;
            }
            if points.is_empty() {
                continue;
            }
            let decoded = self.rows_of(&mut decoder, latents, points, content);
            let decoded = decoded.map_err(external)?;
            data.extend_from_slice(decoded.as_f32().unwrap_or(&[]));
        }
        if let DataType::FixedSizeList(..) = field.data_type() {
            // One query a row: where there is none, the place of one.
            let mut filled = Vec::with_capacity(self.rows * columns);
            let mut rest = data.as_slice();
            for count in counts {
                let (own, after) = rest.split_at(count * columns);
                filled.extend_from_slice(own);
                filled.resize(filled.len() + (1 - count) * columns, 0.0);
                rest = after;
            }
            return rows(filled, columns, Some(valid.into()));
        }
        let item = Field::new_list_field(rows_type(DataType::Float32, columns), false);
        let offsets = offsets(self.function, &counts)?;
        let rows = rows(data, columns, None)?;
        Ok(Arc::new(ListArray::try_new(item.into(), offsets, rows, Some(valid.into()))?))
    }

    fn rows_of(
        &self,
        decoder: &mut Option<Decoder>,
        latents: &[f32],
        points: Vec<usize>,
        content: Vec<f32>,
    ) -> perceiver::Result<Tensor> {
        let shape = &self.shared.blueprint.latents;
        let latents = Latents::new(shape.rows, shape.channels, latents.to_vec())?;
        let content = match self.output.channels {
            0 => None,
            n => Some(Tensor::f32(vec![points.len(), n], content)?),
        };
        let decoder = match decoder {
            Some(decoder) => {
                decoder.set_latents(&latents)?;
                decoder
            }
            None => decoder.insert(self.shared.model.decoder(&self.shared.sizes, &latents)?),
        };
        decoder.decode(&self.output.name, &Queries::Points(points), content.as_ref())
    }
}

/// Rows of so many columns as lists.
fn rows(data: Vec<f32>, columns: usize, valid: Option<NullBuffer>) -> Result<ArrayRef> {
    let count = data.len() / columns.max(1);
    let field = Field::new_list_field(DataType::Float32, false).into();
    let size = i32::try_from(columns).unwrap_or(i32::MAX);
    let data = Arc::new(Float32Array::from(data));
    Ok(Arc::new(FixedSizeListArray::try_new_with_length(field, size, data, valid, count)?))
}
