//! Ballista's codecs, which send functions of a model with its fingerprint.

use std::sync::Arc;

use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, TableReference};
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, Extension, LogicalPlan, ScalarUDF, WindowUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use perceiver_datafusion::Functions;

/// A codec of Ballista's with the functions of a model.
#[derive(Debug)]
pub(crate) struct Codec<C> {
    functions: Functions,
    inner: C,
}

impl Codec<BallistaLogicalExtensionCodec> {
    pub(crate) fn logical(functions: &Functions) -> Self {
        Codec { functions: functions.clone(), inner: BallistaLogicalExtensionCodec::default() }
    }
}

impl Codec<BallistaPhysicalExtensionCodec> {
    pub(crate) fn physical(functions: &Functions) -> Self {
        Codec { functions: functions.clone(), inner: BallistaPhysicalExtensionCodec::default() }
    }
}

impl<C> Codec<C> {
    fn has_aggregate(&self, name: &str) -> bool {
        self.functions.aggregate().name() == name
    }

    fn has_scalar(&self, name: &str) -> bool {
        self.functions.scalars().iter().any(|f| f.name() == name)
    }

    /// The functions for a plan; one that names a function alone comes from a process without a model.
    fn of_plan(&self, buf: &[u8]) -> Result<Functions> {
        match buf.is_empty() {
            true => Ok(self.functions.clone()),
            false => self.functions.of_plan(buf),
        }
    }

    /// Writes which model a function of it is of, and of others what Ballista's codec does.
    fn token_or(
        &self,
        own: bool,
        buf: &mut Vec<u8>,
        others: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        match own {
            true => buf.extend(self.functions.token()),
            false => others(buf)?,
        }
        Ok(())
    }

    /// A function of the model; `None` for all others.
    fn scalar(&self, name: &str, buf: &[u8]) -> Option<Result<Arc<ScalarUDF>>> {
        let at = self.functions.scalars().iter().position(|f| f.name() == name)?;
        Some(self.of_plan(buf).map(|functions| functions.scalars()[at].clone()))
    }

    fn aggregate(&self, name: &str, buf: &[u8]) -> Option<Result<Arc<AggregateUDF>>> {
        let own = self.has_aggregate(name);
        own.then(|| self.of_plan(buf).map(|functions| functions.aggregate().clone()))
    }
}

impl LogicalExtensionCodec for Codec<BallistaLogicalExtensionCodec> {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[LogicalPlan],
        ctx: &TaskContext,
    ) -> Result<Extension> {
        self.inner.try_decode(buf, inputs, ctx)
    }

    fn try_encode(&self, node: &Extension, buf: &mut Vec<u8>) -> Result<()> {
        self.inner.try_encode(node, buf)
    }

    fn try_decode_table_provider(
        &self,
        buf: &[u8],
        table_ref: &TableReference,
        schema: SchemaRef,
        ctx: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        self.inner.try_decode_table_provider(buf, table_ref, schema, ctx)
    }

    fn try_encode_table_provider(
        &self,
        table_ref: &TableReference,
        node: Arc<dyn TableProvider>,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        self.inner.try_encode_table_provider(table_ref, node, buf)
    }

    fn try_decode_file_format(
        &self,
        buf: &[u8],
        ctx: &TaskContext,
    ) -> Result<Arc<dyn FileFormatFactory>> {
        self.inner.try_decode_file_format(buf, ctx)
    }

    fn try_encode_file_format(
        &self,
        buf: &mut Vec<u8>,
        node: Arc<dyn FileFormatFactory>,
    ) -> Result<()> {
        self.inner.try_encode_file_format(buf, node)
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        // The scheduler tells a client at once; executors, which cannot, have the function tell when it runs.
        if self.has_scalar(name) && !buf.is_empty() {
            self.functions.check_plan(buf)?;
        }
        self.scalar(name, buf).unwrap_or_else(|| self.inner.try_decode_udf(name, buf))
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.token_or(self.has_scalar(node.name()), buf, |buf| self.inner.try_encode_udf(node, buf))
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        if self.has_aggregate(name) && !buf.is_empty() {
            self.functions.check_plan(buf)?;
        }
        self.aggregate(name, buf).unwrap_or_else(|| self.inner.try_decode_udaf(name, buf))
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.token_or(self.has_aggregate(node.name()), buf, |buf| {
            self.inner.try_encode_udaf(node, buf)
        })
    }

    fn try_decode_udwf(&self, name: &str, buf: &[u8]) -> Result<Arc<WindowUDF>> {
        self.inner.try_decode_udwf(name, buf)
    }

    fn try_encode_udwf(&self, node: &WindowUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.inner.try_encode_udwf(node, buf)
    }
}

impl PhysicalExtensionCodec for Codec<BallistaPhysicalExtensionCodec> {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.inner.try_decode(buf, inputs, ctx, proto_converter)
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        self.inner.try_encode(node, buf, proto_converter)
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.scalar(name, buf).unwrap_or_else(|| self.inner.try_decode_udf(name, buf))
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.token_or(self.has_scalar(node.name()), buf, |buf| self.inner.try_encode_udf(node, buf))
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        self.aggregate(name, buf).unwrap_or_else(|| self.inner.try_decode_udaf(name, buf))
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.token_or(self.has_aggregate(node.name()), buf, |buf| {
            self.inner.try_encode_udaf(node, buf)
        })
    }

    fn try_decode_udwf(&self, name: &str, buf: &[u8]) -> Result<Arc<WindowUDF>> {
        self.inner.try_decode_udwf(name, buf)
    }

    fn try_encode_udwf(&self, node: &WindowUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.inner.try_encode_udwf(node, buf)
    }
}
