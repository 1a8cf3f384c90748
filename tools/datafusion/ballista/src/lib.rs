//! Perceiver models on a [Ballista](ballista) cluster: the functions of [`perceiver_datafusion`] on scheduler, executors and
//! clients, and three binaries of them.
//!
//! Ballista sends plans between its processes, and functions by name. The codecs here add the model's fingerprint: a machine
//! that has another model under the name refuses the plan. Every process loads the model from a folder of its own; no weights
//! are sent. States that go from executor to executor have the fingerprint too.
//!
//! `perceiver-scheduler`, `perceiver-executor` and `perceiver-client` are [`scheduler`], [`executor`] and [`client`] with options; a
//! cluster with object stores, TLS or settings of its own is made of the same three functions, and of [`serve`].

mod codec;
pub mod options;
mod serve;

use std::sync::Arc;

use ballista::prelude::{SessionConfigExt, SessionContextExt};
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::utils::{default_config_producer, default_session_builder};
use ballista_executor::executor_process::ExecutorProcessConfig;
use ballista_scheduler::config::SchedulerConfig;
use datafusion::common::Result;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use perceiver_datafusion::Functions;

use codec::Codec;
pub use serve::serve;

/// A configuration whose codecs know the functions.
fn with_codecs(config: SessionConfig, functions: &Functions) -> SessionConfig {
    config
        .with_ballista_logical_extension_codec(Arc::new(Codec::logical(functions)))
        .with_ballista_physical_extension_codec(Arc::new(Codec::physical(functions)))
}

fn register(mut state: SessionState, functions: &Functions) -> Result<SessionState> {
    state.register_udaf(functions.aggregate().clone())?;
    for function in functions.scalars() {
        state.register_udf(function.clone())?;
    }
    Ok(state)
}

/// A scheduler that plans queries with the functions, for [`serve`].
///
/// A stage that cannot fetch what a lost executor has written fails its query at once, for the reason that [`serve`] gives.
/// Executors ask for tasks: Ballista 55 does not get back what it has reckoned to executors whose tasks it ends with a stage, so
/// that one with a core, which is sent its tasks, would never be sent another.
#[must_use]
pub fn scheduler(functions: &Functions, config: SchedulerConfig) -> SchedulerConfig {
    let (producer, builder) = (functions.clone(), functions.clone());
    SchedulerConfig {
        scheduling_policy: TaskSchedulingPolicy::PullStaged,
        stage_max_failures: 1,
        override_logical_codec: Some(Arc::new(Codec::logical(functions))),
        override_physical_codec: Some(Arc::new(Codec::physical(functions))),
        override_config_producer: Some(Arc::new(move || {
            with_codecs(default_config_producer(), &producer)
        })),
        override_session_builder: Some(Arc::new(move |config| {
            register(default_session_builder(config)?, &builder)
        })),
        ..config
    }
}

/// An executor that runs the functions on the device of its model, and asks a scheduler for tasks.
#[must_use]
pub fn executor(functions: &Functions, config: ExecutorProcessConfig) -> ExecutorProcessConfig {
    let mut registry = BallistaFunctionRegistry::default();
    let aggregate = functions.aggregate();
    registry.aggregate_functions.insert(aggregate.name().to_owned(), aggregate.clone());
    for function in functions.scalars() {
        registry.scalar_functions.insert(function.name().to_owned(), function.clone());
    }
    let producer = functions.clone();
    ExecutorProcessConfig {
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        override_function_registry: Some(Arc::new(registry)),
        override_logical_codec: Some(Arc::new(Codec::logical(functions))),
        override_physical_codec: Some(Arc::new(Codec::physical(functions))),
        override_config_producer: Some(Arc::new(move || {
            with_codecs(default_config_producer(), &producer)
        })),
        ..config
    }
}

/// A session that has its queries run by the cluster whose scheduler is at `url`, `http://HOST:PORT`.
///
/// # Errors
/// Those of Ballista for a URL that is none.
pub async fn client(
    functions: &Functions,
    url: &str,
    config: SessionConfig,
) -> Result<SessionContext> {
    let config = with_codecs(config.upgrade_for_ballista(), functions);
    let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    let ctx = SessionContext::remote_with_state(url, state).await?;
    functions.register(&ctx);
    Ok(ctx)
}
