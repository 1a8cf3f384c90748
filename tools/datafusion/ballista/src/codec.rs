//! Ballista's codecs, which send functions of a model with its fingerprint.

use std::sync::Arc;

use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, TableReference, exec_err};
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
    fn aggregate(&self, name: &str) -> Option<&Arc<AggregateUDF>> {
        Some(self.functions.aggregate()).filter(|f| f.name() == name)
    }

    fn scalar(&self, name: &str) -> Option<&Arc<ScalarUDF>> {
        self.functions.scalars().iter().find(|f| f.name() == name)
    }

    fn encode(&self, buf: &mut Vec<u8>) {
        buf.extend(self.functions.fingerprint().to_le_bytes());
    }

    /// Refuses a function of another model than the one here.
    fn check(&self, name: &str, buf: &[u8]) -> Result<()> {
        let own = self.functions.fingerprint();
        match <[u8; 8]>::try_from(buf).map(u64::from_le_bytes) {
            Ok(found) if found == own => Ok(()),
            Ok(found) => exec_err!(
                "{name}: the plan is for the model with fingerprint {found:016x}, and this machine has {own:016x}: scheduler, executors and clients must have the same description, weights and sizes"
            ),
            Err(_) => exec_err!("{name}: the plan has no fingerprint of a model"),
        }
    }

    fn decode<F: Clone>(&self, name: &str, buf: &[u8], function: &F) -> Result<F> {
        // A plan that names a function alone comes from a process that has no model.
        if !buf.is_empty() {
            self.check(name, buf)?;
        }
        Ok(function.clone())
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
        match self.scalar(name) {
            Some(function) => self.decode(name, buf, function),
            None => self.inner.try_decode_udf(name, buf),
        }
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        match self.scalar(node.name()) {
            Some(_) => self.encode(buf),
            None => self.inner.try_encode_udf(node, buf)?,
        }
        Ok(())
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        match self.aggregate(name) {
            Some(function) => self.decode(name, buf, function),
            None => self.inner.try_decode_udaf(name, buf),
        }
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, buf: &mut Vec<u8>) -> Result<()> {
        match self.aggregate(node.name()) {
            Some(_) => self.encode(buf),
            None => self.inner.try_encode_udaf(node, buf)?,
        }
        Ok(())
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
        match self.scalar(name) {
            Some(function) => self.decode(name, buf, function),
            None => self.inner.try_decode_udf(name, buf),
        }
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        match self.scalar(node.name()) {
            Some(_) => self.encode(buf),
            None => self.inner.try_encode_udf(node, buf)?,
        }
        Ok(())
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        match self.aggregate(name) {
            Some(function) => self.decode(name, buf, function),
            None => self.inner.try_decode_udaf(name, buf),
        }
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, buf: &mut Vec<u8>) -> Result<()> {
        match self.aggregate(node.name()) {
            Some(_) => self.encode(buf),
            None => self.inner.try_encode_udaf(node, buf)?,
        }
        Ok(())
    }

    fn try_decode_udwf(&self, name: &str, buf: &[u8]) -> Result<Arc<WindowUDF>> {
        self.inner.try_decode_udwf(name, buf)
    }

    fn try_encode_udwf(&self, node: &WindowUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.inner.try_encode_udwf(node, buf)
    }
}
