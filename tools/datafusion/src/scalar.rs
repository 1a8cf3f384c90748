//! Scalar functions of a model, as the engine wants them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err, resources_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::shared::Shared;
use crate::token::Token;

/// Where the lists of a column begin, by their lengths.
pub(crate) fn offsets(function: &str, lengths: &[usize]) -> Result<OffsetBuffer<i32>> {
    let all: usize = lengths.iter().sum();
    if i32::try_from(all).is_err() {
        let rows = lengths.len();
        return resources_err!(
            "{function}: results of {rows} rows are {all} elements, and a column of lists holds 2³¹: use a smaller `datafusion.execution.batch_size`"
        );
    }
    Ok(OffsetBuffer::from_lengths(lengths.iter().copied()))
}

/// What a function does.
pub(crate) trait Scalar: Send + Sync + 'static {
    /// The types that arguments are cast to; an error where they do not fit.
    fn coerce(&self, function: &str, shared: &Shared, given: &[DataType]) -> Result<Vec<DataType>>;

    /// The type of the result.
    fn returns(
        &self,
        function: &str,
        shared: &Shared,
        args: &ReturnFieldArgs<'_>,
    ) -> Result<DataType>;

    /// The results for a batch.
    fn invoke(&self, function: &str, shared: &Shared, args: ScalarFunctionArgs)
    -> Result<ArrayRef>;
}

/// A function of a model under its name.
pub(crate) struct Named<S> {
    name: String,
    shared: Arc<Shared>,
    signature: Signature,
    function: S,
    plan: Option<Token>,
}

impl<S> Named<S> {
    /// The function; with a token, that of a plan for another model, which is not run.
    pub(crate) fn new(name: String, shared: Arc<Shared>, function: S, plan: Option<Token>) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Named { name, shared, signature, function, plan }
    }
}

impl<S> fmt::Debug for Named<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<S> PartialEq for Named<S> {
    fn eq(&self, other: &Self) -> bool {
        let own = (&self.name, self.shared.fingerprint, self.plan);
        own == (&other.name, other.shared.fingerprint, other.plan)
    }
}

impl<S> Eq for Named<S> {}

impl<S> Hash for Named<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, self.shared.fingerprint, self.plan).hash(state);
    }
}

impl<S: Scalar> ScalarUDFImpl for Named<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce(&self.name, &self.shared, given)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{}: the type depends on the arguments' values", self.name)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let found = self.function.returns(&self.name, &self.shared, &args)?;
        Ok(Arc::new(Field::new(&self.name, found, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let Some(token) = self.plan {
            token.refuse(&self.name, self.shared.fingerprint)?;
        }
        self.function.invoke(&self.name, &self.shared, args).map(ColumnarValue::Array)
    }
}
