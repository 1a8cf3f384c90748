//! A scheduler that fails queries whose results are lost with an executor, instead of running their stages again.

use std::net::SocketAddr;
use std::sync::Arc;

use ballista_core::error::Result;
use ballista_core::serde::protobuf::task_status::Status;
use ballista_scheduler::cluster::{BallistaCluster, ClusterStateEvent};
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service};
use ballista_scheduler::state::execution_graph::ExecutionGraph;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use futures::StreamExt;

/// Runs a scheduler at `address`, with a configuration of [`scheduler`](crate::scheduler), until it fails.
///
/// It is Ballista's `start_server`, but a query that has lost the results of a stage with an executor ends with an error that
/// names the executor; asked again, it runs on those that are left. Ballista 55 would run the stage again, which it cannot: its
/// adaptive planner refuses the reports of such tasks ("Can't find active stage to update stage outputs"), so that the query
/// never ends, and with its static planner a wrong answer has been seen.
///
/// # Errors
/// Those of Ballista: a configuration that is not valid, an address that cannot be bound.
pub async fn serve(config: SchedulerConfig, address: SocketAddr) -> Result<()> {
    config.validate()?;
    let cluster = BallistaCluster::new_from_config(&config).await?;
    let jobs = cluster.job_state();
    let scheduler =
        create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config)).await?;
    let mut events = scheduler.cluster_state_events().await?;
    let server = scheduler.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let ClusterStateEvent::RemovedExecutor { executor_id } = event else { continue };
            for (job, info) in server.state.task_manager.get_running_job_cache().iter() {
                let mut graph = info.execution_graph.write().await;
                if !lost_results(graph.as_ref(), &executor_id) {
                    continue;
                }
                graph.fail_job(format!("executor {executor_id} was lost; ask again"));
                // Clients hear of it here. To cancel ends the tasks on the other executors, but gives no reason.
                let saved = jobs.save_job(job, &graph).await;
                drop(graph);
                if let Err(error) = saved.and(server.cancel_job(job.clone()).await) {
                    eprintln!("query {job} of lost executor {executor_id}: {error}");
                }
            }
        }
    });
    start_grpc_service(address, scheduler).await
}

/// Whether a stage that is done has results on an executor, or runs again since it had.
///
/// The tasks of a stage in its first run are repaired by Ballista: nothing has read their results.
fn lost_results(graph: &dyn ExecutionGraph, executor: &str) -> bool {
    graph.stages().values().any(|stage| match stage {
        ExecutionStage::Running(stage) => stage.stage_attempt_num > 0,
        ExecutionStage::Successful(stage) => {
            let on_it = |task: &TaskInfo| match &task.task_status {
                Status::Successful(task) => task.executor_id == executor,
                _ => false,
            };
            stage.stage_attempt_num > 0 || stage.task_infos.iter().any(on_it)
        }
        _ => false,
    })
}
