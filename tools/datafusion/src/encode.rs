//! `perceiver_encode`: the aggregate from rows to latents.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeListArray, Float32Array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, plan_err, resources_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use crate::group::Group;
use crate::rows::Rows;
use crate::shared::{Reader, Shared};
use crate::token::Token;

/// Bytes of rows that all groups of one partition hold back together.
const MOST_HELD: usize = 32 << 20;

/// See the module.
pub(crate) struct Encode {
    name: String,
    shared: Arc<Shared>,
    signature: Signature,
    plan: Option<Token>,
}

impl Encode {
    /// The function; with a token, that of a plan for another model, which is not run.
    pub(crate) fn new(name: String, shared: Arc<Shared>, plan: Option<Token>) -> Self {
        Encode { name, shared, signature: Signature::user_defined(Volatility::Immutable), plan }
    }
}

impl fmt::Debug for Encode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encode").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Encode {
    fn eq(&self, other: &Self) -> bool {
        let own = (&self.name, self.shared.fingerprint, self.plan);
        own == (&other.name, other.shared.fingerprint, other.plan)
    }
}

impl Eq for Encode {}

impl Hash for Encode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, self.shared.fingerprint, self.plan).hash(state);
    }
}

impl AggregateUDFImpl for Encode {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.shared.encode(&self.name)?.coerce(&self.name, given)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        match self.plan {
            Some(token) => Ok(token.latents_type()),
            None => self.shared.encode(&self.name).map(|_| self.shared.latents_type()),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format_state_name(args.name, "state");
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.allow(&args)?;
        Ok(Box::new(One { of: self.own(), group: Group::default(), most: 0 }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.allow(&args)?;
        Ok(Box::new(Many { of: self.own(), groups: Vec::new(), bytes: 0, held: 0 }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

impl Encode {
    fn own(&self) -> Function {
        Function { name: self.name.clone(), shared: self.shared.clone() }
    }

    fn allow(&self, args: &AccumulatorArgs<'_>) -> Result<()> {
        if let Some(token) = self.plan {
            return token.refuse(&self.name, self.shared.fingerprint);
        }
        match args.is_distinct {
            true => plan_err!("{}: DISTINCT is not supported: every row counts", self.name),
            false => Ok(()),
        }
    }
}

/// What accumulators have of the function.
#[derive(Clone)]
struct Function {
    name: String,
    shared: Arc<Shared>,
}

impl Function {
    fn rows<'a>(&'a self, values: &'a [ArrayRef]) -> Result<Rows<'a>> {
        self.shared.encode(&self.name)?.read(&self.name, values)
    }

    fn states<'a>(&self, states: &'a [ArrayRef]) -> Result<&'a BinaryArray> {
        let state = states.first().and_then(|s| s.as_binary_opt::<i32>());
        state.ok_or_else(|| exec_datafusion_err!("{}: a state is a Binary column", self.name))
    }

    /// Latents of groups as a column, NULL where there were no rows.
    fn latents(&self, groups: Vec<Group>) -> Result<ArrayRef> {
        let latents = &self.shared.blueprint.latents;
        let (count, each) = (groups.len(), latents.rows * latents.channels);
        let mut reader = Reader::new(&self.shared);
        let mut data = Vec::new();
        data.try_reserve_exact(count.saturating_mul(each)).map_err(|_| {
            exec_datafusion_err!("{}: no memory for the latents of {count} groups", self.name)
        })?;
        let mut valid = Vec::with_capacity(count);
        for mut group in groups {
            let found = group.latents(&mut reader)?;
            valid.push(found.is_some());
            match found {
                Some(found) => data.extend(found),
                None => data.resize(data.len() + each, 0.0),
            }
        }
        let row = FixedSizeListArray::try_new_with_length(
            Field::new_list_field(DataType::Float32, false).into(),
            i32::try_from(latents.channels).unwrap_or(i32::MAX),
            Arc::new(Float32Array::from(data)),
            None,
            count * latents.rows,
        )?;
        let DataType::FixedSizeList(field, size) = self.shared.latents_type() else {
            return Ok(Arc::new(row));
        };
        let valid = Some(NullBuffer::from(valid)).filter(|v| v.null_count() > 0);
        let all =
            FixedSizeListArray::try_new_with_length(field, size, Arc::new(row), valid, count)?;
        Ok(Arc::new(all))
    }
}

/// The accumulator of one group.
struct One {
    of: Function,
    group: Group,
    /// Most bytes that the group has taken after a batch. The engine's stream without groups adds up what an accumulator grows by
    /// and never takes off what it shrinks by, so a size that goes up and down would fill any pool.
    most: usize,
}

impl One {
    fn measure(&mut self) {
        self.most = self.most.max(self.group.bytes());
    }
}

impl fmt::Debug for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("One").field("bytes", &self.group.bytes()).finish_non_exhaustive()
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = self.of.rows(values)?;
        let mut reader = Reader::new(&self.of.shared);
        self.group.push_all(&mut reader, &rows, values.first().map_or(0, |v| v.len()))?;
        drop(reader);
        self.measure();
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let latents = self.of.latents(vec![self.group.clone()])?;
        ScalarValue::try_from_array(&latents, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.most
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = self.group.write(&mut Reader::new(&self.of.shared))?;
        Ok(vec![ScalarValue::Binary(state)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let mut reader = Reader::new(&self.of.shared);
        for state in self.of.states(states)?.iter().flatten() {
            self.group.merge(&mut reader, &self.of.name, state)?;
        }
        drop(reader);
        self.measure();
        Ok(())
    }
}

/// The accumulator of all groups of a partition.
struct Many {
    of: Function,
    groups: Vec<Group>,
    /// Bytes of all groups.
    bytes: usize,
    /// Bytes of the rows that they hold back.
    held: usize,
}

impl Many {
    /// Changes a group, and counts what it takes afterwards.
    fn change(&mut self, at: usize, change: impl FnOnce(&mut Group) -> Result<()>) -> Result<()> {
        let group = &mut self.groups[at];
        let (bytes, held) = (group.bytes(), group.held_bytes());
        let done = change(group);
        self.bytes = self.bytes - bytes + group.bytes();
        self.held = self.held - held + group.held_bytes();
        done
    }

    fn grow(&mut self, groups: usize) {
        let more = groups.saturating_sub(self.groups.len());
        self.groups.resize_with(self.groups.len() + more, Group::default);
        self.bytes += more * size_of::<Group>();
    }

    /// Reads what is held back where it has become too much, of the groups that hold back most of it.
    fn relieve(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        if self.held <= MOST_HELD {
            return Ok(());
        }
        let average = self.held / self.groups.len().max(1);
        for at in 0..self.groups.len() {
            if self.groups[at].held_bytes() >= average {
                self.change(at, |group| group.read(reader))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Group> {
        let taken = emit_to.take_needed(&mut self.groups);
        self.bytes -= taken.iter().map(Group::bytes).sum::<usize>();
        self.held -= taken.iter().map(Group::held_bytes).sum::<usize>();
        taken
    }

    /// Groups as a column of states.
    fn states(of: &Function, groups: Vec<Group>) -> Result<Vec<ArrayRef>> {
        let mut reader = Reader::new(&of.shared);
        let mut states = Vec::with_capacity(groups.len());
        let mut bytes = 0usize;
        for mut group in groups {
            let state = group.write(&mut reader)?;
            bytes += state.as_ref().map_or(0, Vec::len);
            states.push(state);
        }
        if i32::try_from(bytes).is_err() {
            let (name, count) = (&of.name, states.len());
            return resources_err!(
                "{name}: states of {count} groups take {bytes} bytes, and a Binary column holds 2 GiB: use more partitions"
            );
        }
        Ok(vec![Arc::new(BinaryArray::from_iter(states))])
    }
}

impl GroupsAccumulator for Many {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let of = self.of.clone();
        let rows = of.rows(values)?;
        let mut reader = Reader::new(&of.shared);
        for (row, &at) in group_indices.iter().enumerate() {
            if Rows::counts(opt_filter, row) {
                self.change(at, |group| group.push(&mut reader, &rows, row))?;
            }
        }
        self.relieve(&mut reader)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = self.take(emit_to);
        self.of.latents(groups)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = self.take(emit_to);
        Self::states(&self.of, groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let of = self.of.clone();
        let mut reader = Reader::new(&of.shared);
        let states = self.of.states(values)?;
        for (row, &at) in group_indices.iter().enumerate() {
            if states.is_valid(row) {
                let state = states.value(row);
                self.change(at, |group| group.merge(&mut reader, &of.name, state))?;
            }
        }
        self.relieve(&mut reader)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = self.of.rows(values)?;
        let mut reader = Reader::new(&self.of.shared);
        let mut groups = Vec::new();
        for row in 0..values.first().map_or(0, |v| v.len()) {
            let mut group = Group::default();
            if Rows::counts(opt_filter, row) {
                group.push(&mut reader, &rows, row)?;
            }
            groups.push(group);
        }
        Self::states(&self.of, groups)
    }

    fn size(&self) -> usize {
        let spare = self.groups.capacity() - self.groups.len();
        size_of_val(self) + self.bytes + spare * size_of::<Group>()
    }
}
