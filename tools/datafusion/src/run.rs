//! `perceiver_run`: whole runs of the model, an item a row.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float32Type, Int64Type};
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs};
use perceiver::blueprint::InputKind;
use perceiver::{Architecture, Description, NamedTensors, Tensor};

use crate::scalar::{Scalar, offsets};
use crate::shared::{Shared, external};

/// Items that go through together at the most; the model divides them further where it must.
const MOST_ITEMS: usize = 64;

/// See the module.
pub(crate) struct Run;

/// An input of a run: a list of numbers an item.
struct Input {
    name: String,
    whole_numbers: bool,
    /// Axes of an item; the first may be of any length where it is `None`.
    first: Option<usize>,
    rest: Vec<usize>,
    optional: bool,
    /// Whether all items of a run share it, so that each runs alone.
    shared: bool,
}

impl Input {
    fn new(name: &str, axes: &[usize]) -> Self {
        let (first, rest) = axes.split_first().map_or((1, &[][..]), |(&n, rest)| (n, rest));
        Input {
            name: name.to_owned(),
            whole_numbers: false,
            first: Some(first),
            rest: rest.to_vec(),
            optional: false,
            shared: false,
        }
    }

    /// A list of whole numbers of any length.
    fn numbers(name: &str, optional: bool) -> Self {
        Input { whole_numbers: true, first: None, optional, ..Input::new(name, &[1]) }
    }

    /// Axes of an item of so many numbers.
    fn axes(&self, function: &str, count: usize) -> Result<Vec<usize>> {
        let rest: usize = self.rest.iter().product();
        let first = self.first.unwrap_or_else(|| count / rest.max(1));
        let axes: Vec<usize> = [first].into_iter().chain(self.rest.iter().copied()).collect();
        if axes.iter().product::<usize>() == count {
            return Ok(axes);
        }
        let name = &self.name;
        match self.first {
            Some(_) => exec_err!("{function}: '{name}' has {count} numbers, not those of {axes:?}"),
            None => exec_err!("{function}: '{name}' has {count} numbers, not a multiple of {rest}"),
        }
    }
}

/// The inputs of a run, those that may be left out last.
fn inputs(function: &str, shared: &Shared) -> Result<Vec<Input>> {
    let description = shared.model.description();
    let mut inputs = match description {
        Description::Config(config) => {
            let ([height, width], name) = (shared.sizes.image, description.name());
            match config.architecture {
                Architecture::MaskedLm | Architecture::SequenceClassification => {
                    let numbers = Input::numbers;
                    vec![numbers("input_ids", false), numbers("attention_mask", true)]
                }
                Architecture::OpticalFlow => vec![Input::new("patches", &[2, 27, height, width])],
                Architecture::ImageLearned
                | Architecture::ImageFourier
                | Architecture::ImageConvolution => {
                    vec![Input::new("pixel_values", &[3, height, width])]
                }
                _ => {
                    return plan_err!("{function} does not run {name}: encode and decode it");
                }
            }
        }
        _ => {
            let shapes = shared.blueprint.input_shapes();
            let known = shapes.iter().map(|shape| {
                let input = match shape.kind {
                    InputKind::Rows { rows, channels } => {
                        Input::new(&shape.name, &[rows, channels])
                    }
                    InputKind::Picture { channels, size: [height, width] } => {
                        Input::new(&shape.name, &[channels, height, width])
                    }
                    InputKind::Tokens { length: n, .. } | InputKind::Mask { rows: n } => {
                        Input { whole_numbers: true, ..Input::new(&shape.name, &[n]) }
                    }
                    InputKind::Points { rows: n, .. } => {
                        Input { whole_numbers: true, shared: true, ..Input::new(&shape.name, &[n]) }
                    }
                    InputKind::Grid { shared, .. } => {
                        Input { whole_numbers: true, shared, ..Input::new(&shape.name, &[2]) }
                    }
                    InputKind::FirstRows { .. } => {
                        Input { whole_numbers: true, shared: true, ..Input::new(&shape.name, &[1]) }
                    }
                    other => {
                        let name = &shape.name;
                        return plan_err!(
                            "{function}: input '{name}' is no list of numbers, but {other:?}"
                        );
                    }
                };
                let varies = shape.varies && !matches!(shape.kind, InputKind::Picture { .. });
                let first = input.first.filter(|_| !varies);
                Ok(Input { optional: shape.optional, first, ..input })
            });
            known.collect::<Result<Vec<_>>>()?
        }
    };
    inputs.sort_by_key(|input| input.optional);
    Ok(inputs)
}

/// Names of the outputs, in the order of the alphabet.
fn outputs(shared: &Shared) -> Vec<String> {
    let heads = shared.blueprint.decoders.iter().flat_map(|d| &d.heads).map(|h| &h.output);
    let arrays = shared.blueprint.outputs.iter().filter(|o| !o.intermediate).map(|o| &o.name);
    let mut names: Vec<String> = heads.chain(arrays).cloned().collect();
    names.sort();
    names
}

fn list_type(of: DataType) -> DataType {
    DataType::List(Field::new_list_field(of, true).into())
}

impl Scalar for Run {
    fn coerce(&self, function: &str, shared: &Shared, given: &[DataType]) -> Result<Vec<DataType>> {
        let inputs = inputs(function, shared)?;
        let usage = || {
            let each = inputs.iter().map(|input| {
                let of = if input.whole_numbers { "whole numbers" } else { "numbers" };
                let optional = if input.optional { " (may be left out)" } else { "" };
                format!("'{}', a list of {of}{optional}", input.name)
            });
            format!("{function} takes {}", each.collect::<Vec<_>>().join(", "))
        };
        let needed = inputs.iter().filter(|input| !input.optional).count();
        if !(needed..=inputs.len()).contains(&given.len()) {
            return plan_err!("{}; found {} arguments", usage(), given.len());
        }
        let types = inputs.iter().zip(given).map(|(input, found)| {
            let inner = match found {
                DataType::List(of)
                | DataType::LargeList(of)
                | DataType::ListView(of)
                | DataType::LargeListView(of)
                | DataType::FixedSizeList(of, _) => of.data_type(),
                _ => found,
            };
            let fits = match input.whole_numbers {
                true => inner.is_integer(),
                false => inner.is_numeric(),
            };
            if inner == found || !fits {
                return plan_err!("{}; '{}' is {found}", usage(), input.name);
            }
            Ok(list_type(if input.whole_numbers { DataType::Int64 } else { DataType::Float32 }))
        });
        types.collect()
    }

    fn returns(
        &self,
        function: &str,
        shared: &Shared,
        _: &ReturnFieldArgs<'_>,
    ) -> Result<DataType> {
        let names = outputs(shared);
        let list = list_type(DataType::Float32);
        match names.len() {
            0 => Err(plan_datafusion_err!("{function}: the model has no output")),
            1 => Ok(list),
            _ => {
                let fields = names.iter().map(|name| Field::new(name, list.clone(), true));
                Ok(DataType::Struct(Fields::from_iter(fields)))
            }
        }
    }

    fn invoke(
        &self,
        function: &str,
        shared: &Shared,
        args: ScalarFunctionArgs,
    ) -> Result<ArrayRef> {
        let inputs = inputs(function, shared)?;
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let alone = inputs.iter().zip(&columns).any(|(input, _)| input.shared);
        let lists: Option<Vec<&ListArray>> =
            columns.iter().map(|c| c.as_list_opt::<i32>()).collect();
        let lists = lists.ok_or_else(|| exec_datafusion_err!("{function}: an input is no list"))?;
        let names = outputs(shared);
        let mut results: Vec<(Vec<f32>, Vec<usize>)> = vec![Default::default(); names.len()];
        let mut valid = Vec::with_capacity(args.number_rows);
        let counts = |row: usize| -> Option<Vec<usize>> {
            let count =
                |list: &&ListArray| list.is_valid(row).then(|| list.value_length(row) as usize);
            lists.iter().map(count).collect()
        };
        let mut row = 0;
        while row < args.number_rows {
            let Some(known) = counts(row) else {
                valid.push(false);
                results.iter_mut().for_each(|(_, lengths)| lengths.push(0));
                row += 1;
                continue;
            };
            // Items of the same shape go through together.
            let most = if alone { 1 } else { MOST_ITEMS }.min(args.number_rows - row);
            let items = (row..row + most).take_while(|&i| counts(i).as_ref() == Some(&known));
            let items = items.count();
            let mut tensors = NamedTensors::new();
            for ((input, list), &count) in inputs.iter().zip(&lists).zip(&known) {
                let axes = input.axes(function, count)?;
                let batch = (!input.shared).then_some(items);
                let shape = batch.into_iter().chain(axes).collect();
                let first = list.value_offsets()[row] as usize;
                let part = list.values().slice(first, items * count);
                if part.null_count() > 0 {
                    return exec_err!("{function}: a number of '{}' is NULL", input.name);
                }
                let tensor = match input.whole_numbers {
                    true => Tensor::i64(shape, part.as_primitive::<Int64Type>().values().to_vec()),
                    false => {
                        Tensor::f32(shape, part.as_primitive::<Float32Type>().values().to_vec())
                    }
                };
                tensors.insert(input.name.clone(), tensor.map_err(external)?);
            }
            let outputs = shared.model.run(&tensors, &mut |_, _| {}).map_err(external)?;
            for (name, (data, lengths)) in names.iter().zip(&mut results) {
                let found = outputs.get(name).and_then(Tensor::as_f32);
                let found =
                    found.ok_or_else(|| exec_datafusion_err!("{function}: no output '{name}'"))?;
                data.extend_from_slice(found);
                lengths.extend(std::iter::repeat_n(found.len() / items, items));
            }
            valid.extend(std::iter::repeat_n(true, items));
            row += items;
        }
        let single = names.len() == 1;
        let arrays = results.into_iter().map(|(data, lengths)| {
            let field = Field::new_list_field(DataType::Float32, true).into();
            let valid = single.then(|| valid.clone().into());
            let offsets = offsets(function, &lengths)?;
            let data = Arc::new(Float32Array::from(data));
            Ok(Arc::new(ListArray::try_new(field, offsets, data, valid)?) as ArrayRef)
        });
        let mut arrays = arrays.collect::<Result<Vec<_>>>()?;
        if single {
            return Ok(arrays.remove(0));
        }
        let fields =
            names.iter().zip(&arrays).map(|(n, a)| Field::new(n, a.data_type().clone(), true));
        let fields = Fields::from_iter(fields);
        Ok(Arc::new(StructArray::try_new(fields, arrays, Some(valid.into()))?))
    }
}
