//! The arguments of `perceiver_encode`: checked when a query is planned, read when it runs.

use std::ops::Range;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float32Array, Int64Array,
    ListArray, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Int64Type};
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};

use crate::shared::{Encode, Kind, listed, rows_type};

/// Numbers of a row: one column each, or one column of lists.
enum Values<'a> {
    Columns(Vec<&'a Float32Array>),
    Fixed(&'a FixedSizeListArray, &'a Float32Array),
    Lists(&'a ListArray, &'a Float32Array),
}

/// The columns of a batch.
pub(crate) struct Rows<'a> {
    function: &'a str,
    kinds: &'a [Kind],
    modality: Option<&'a StringArray>,
    position: Option<&'a Int64Array>,
    values: Values<'a>,
    /// Whether a NULL may be found.
    nulls: bool,
}

impl Encode {
    fn takes_modality(&self) -> bool {
        self.rows.len() > 1
    }

    fn takes_position(&self) -> bool {
        self.rows.iter().any(|kind| kind.cells.is_some())
    }

    /// Most values of a row.
    fn width(&self) -> usize {
        self.rows.iter().map(|kind| kind.channels).max().unwrap_or(0)
    }

    /// How the function is called.
    fn usage(&self, function: &str) -> String {
        let mut arguments = Vec::new();
        if self.takes_modality() {
            let names = listed(self.rows.iter().map(|kind| &kind.name));
            arguments.push(format!("the modality (one of {names})"));
        }
        if self.takes_position() {
            arguments.push("the position (a whole number: the cell of the grid)".to_owned());
        }
        match self.width() {
            0 => {}
            1 => arguments.push("a number or a list of one".to_owned()),
            n => arguments.push(format!("{n} numbers or a list of them")),
        }
        format!("{function} takes {}", arguments.join(", "))
    }

    /// The types that arguments are cast to; an error where they do not fit.
    pub(crate) fn coerce(&self, function: &str, given: &[DataType]) -> Result<Vec<DataType>> {
        let mut types = Vec::with_capacity(given.len());
        let mut rest = given.iter();
        if self.takes_modality() {
            match rest.next() {
                Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => {}
                Some(DataType::Dictionary(_, value)) if value.is_string() => {}
                other => return self.refuse(function, "the modality", other),
            }
            types.push(DataType::Utf8);
        }
        if self.takes_position() {
            match rest.next() {
                Some(found) if found.is_integer() => types.push(DataType::Int64),
                other => return self.refuse(function, "the position", other),
            }
        }
        let (width, values) = (self.width(), rest.as_slice());
        match values {
            [DataType::FixedSizeList(of, n)] if of.data_type().is_numeric() => {
                let wanted = |kind: &Kind| usize::try_from(*n) == Ok(kind.channels);
                if !self.rows.iter().any(wanted) {
                    return self.refuse(function, "the list of values", values.first());
                }
                types.push(rows_type(DataType::Float32, usize::try_from(*n).unwrap_or(0)));
            }
            [
                DataType::List(of)
                | DataType::LargeList(of)
                | DataType::ListView(of)
                | DataType::LargeListView(of),
            ] if width > 0 && of.data_type().is_numeric() => {
                types.push(DataType::List(Field::new_list_field(DataType::Float32, true).into()));
            }
            _ if values.len() != width => {
                let (found, usage) = (given.len(), self.usage(function));
                return plan_err!("{usage}; found {found} arguments");
            }
            _ => {
                for (i, found) in values.iter().enumerate() {
                    if !found.is_numeric() && *found != DataType::Null {
                        return self.refuse(function, &format!("value {}", i + 1), Some(found));
                    }
                    types.push(DataType::Float32);
                }
            }
        }
        Ok(types)
    }

    fn refuse<T>(&self, function: &str, what: &str, found: Option<&DataType>) -> Result<T> {
        let found = found.map_or_else(|| "is missing".to_owned(), |t| format!("is {t}"));
        plan_err!("{}; {what} {found}", self.usage(function))
    }

    /// The columns of a batch, of the types that [`Encode::coerce`] gave.
    pub(crate) fn read<'a>(
        &'a self,
        function: &'a str,
        columns: &'a [ArrayRef],
    ) -> Result<Rows<'a>> {
        let wrong = |what: &str, found: Option<&ArrayRef>| {
            let found = found.map_or("nothing".to_owned(), |array| array.data_type().to_string());
            exec_datafusion_err!("{}; {what} is {found}", self.usage(function))
        };
        let mut rest = columns.iter();
        let modality = match self.takes_modality() {
            true => {
                let column = rest.next();
                let texts = column.and_then(|c| c.as_string_opt::<i32>());
                Some(texts.ok_or_else(|| wrong("the modality", column))?)
            }
            false => None,
        };
        let position = match self.takes_position() {
            true => {
                let column = rest.next();
                let numbers = column.and_then(|c| c.as_primitive_opt::<Int64Type>());
                Some(numbers.ok_or_else(|| wrong("the position", column))?)
            }
            false => None,
        };
        let floats = |array: &'a ArrayRef| array.as_primitive_opt::<Float32Type>();
        let list = |found| wrong("the list of values", found);
        let (values, inner) = match rest.as_slice() {
            [column] if column.as_fixed_size_list_opt().is_some() => {
                let lists = column.as_fixed_size_list();
                let inner = floats(lists.values()).ok_or_else(|| list(Some(column)))?;
                (Values::Fixed(lists, inner), inner.null_count() > 0)
            }
            [column] if column.as_list_opt::<i32>().is_some() => {
                let lists = column.as_list::<i32>();
                let inner = floats(lists.values()).ok_or_else(|| list(Some(column)))?;
                (Values::Lists(lists, inner), inner.null_count() > 0)
            }
            columns if columns.len() == self.width() => {
                let columns: Option<Vec<_>> = columns.iter().map(floats).collect();
                (Values::Columns(columns.ok_or_else(|| wrong("a value", None))?), false)
            }
            columns => return Err(wrong("what follows", columns.first())),
        };
        let nulls = inner || columns.iter().any(|c| c.null_count() > 0);
        Ok(Rows { function, kinds: &self.rows, modality, position, values, nulls })
    }
}

impl Rows<'_> {
    /// Whether a row counts.
    pub(crate) fn counts(filter: Option<&BooleanArray>, row: usize) -> bool {
        filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
    }

    /// Which modality a row is of.
    pub(crate) fn kind(&self, row: usize) -> Result<usize> {
        let Some(names) = self.modality else {
            return Ok(0);
        };
        if names.is_null(row) {
            return self.null("the modality", row);
        }
        let name = names.value(row);
        match self.kinds.iter().position(|kind| kind.name == name) {
            Some(kind) => Ok(kind),
            None => {
                let known = listed(self.kinds.iter().map(|kind| &kind.name));
                exec_err!("{}: no modality '{name}', but {known}", self.function)
            }
        }
    }

    fn null<T>(&self, what: &str, row: usize) -> Result<T> {
        let function = self.function;
        exec_err!(
            "{function}: {what} is NULL in row {row} of a batch; rows that are not whole can be left out by FILTER or WHERE"
        )
    }

    /// The cell of a row of a kind that has cells.
    fn cell(&self, row: usize, kind: &Kind, cells: usize) -> Result<u32> {
        let Some(position) = self.position else {
            return exec_err!("{}: the position is missing", self.function);
        };
        if position.is_null(row) {
            return self.null("the position", row);
        }
        let at = position.value(row);
        match u32::try_from(at) {
            Ok(cell) if (cell as usize) < cells => Ok(cell),
            _ => {
                let (function, last) = (self.function, cells.saturating_sub(1));
                exec_err!("{function}: '{}' has no position {at}, but 0 to {last}", kind.name)
            }
        }
    }

    /// Adds the row to those that are held back.
    pub(crate) fn append(
        &self,
        row: usize,
        kind: usize,
        cells: &mut Vec<u32>,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        let kind = &self.kinds[kind];
        if let Some(count) = kind.cells {
            cells.push(self.cell(row, kind, count)?);
        }
        match &self.values {
            Values::Columns(columns) => {
                let (own, others) = columns.split_at(kind.channels);
                if self.nulls
                    && let Some(i) = own.iter().position(|column| column.is_null(row))
                {
                    return self.null(&format!("value {}", i + 1), row);
                }
                if others.iter().any(|column| column.is_valid(row)) {
                    let (function, n) = (self.function, kind.channels);
                    let name = &kind.name;
                    return exec_err!(
                        "{function}: a row of '{name}' has {n} values; those that follow must be NULL"
                    );
                }
                values.extend(own.iter().map(|column| column.value(row)));
            }
            Values::Fixed(lists, inner) => {
                let n = lists.value_length() as usize;
                self.list(row, lists.is_null(row), kind, row * n..(row + 1) * n, inner, values)?;
            }
            Values::Lists(lists, inner) => {
                let ends = &lists.value_offsets()[row..=row + 1];
                let within = ends[0] as usize..ends[1] as usize;
                self.list(row, lists.is_null(row), kind, within, inner, values)?;
            }
        }
        Ok(())
    }

    /// Whether rows can be added many at a time: all of one modality, and none with a NULL.
    pub(crate) fn are_plain(&self) -> bool {
        self.modality.is_none() && !self.nulls
    }

    /// As [`Rows::append`], for rows one after the other that are plain.
    pub(crate) fn append_all(
        &self,
        rows: Range<usize>,
        cells: &mut Vec<u32>,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        let kind = &self.kinds[0];
        match &self.values {
            Values::Columns(columns) => {
                if let Some(count) = kind.cells {
                    for row in rows.clone() {
                        cells.push(self.cell(row, kind, count)?);
                    }
                }
                let columns: Vec<&[f32]> =
                    columns.iter().map(|column| &column.values()[rows.clone()]).collect();
                values.reserve(rows.len() * columns.len());
                for row in 0..rows.len() {
                    values.extend(columns.iter().map(|column| column[row]));
                }
                Ok(())
            }
            Values::Fixed(..) | Values::Lists(..) => {
                rows.into_iter().try_for_each(|row| self.append(row, 0, cells, values))
            }
        }
    }

    fn list(
        &self,
        row: usize,
        null: bool,
        kind: &Kind,
        within: Range<usize>,
        inner: &Float32Array,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        if null {
            return self.null("the list of values", row);
        }
        if within.len() != kind.channels {
            let (function, found, n) = (self.function, within.len(), kind.channels);
            return exec_err!("{function}: a row of '{}' has {n} values, not {found}", kind.name);
        }
        if self.nulls && within.clone().any(|i| inner.is_null(i)) {
            return self.null("a value in the list", row);
        }
        values.extend_from_slice(&inner.values()[within]);
        Ok(())
    }
}
