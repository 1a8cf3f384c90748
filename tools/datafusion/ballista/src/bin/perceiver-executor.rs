//! A Ballista executor with the functions of a model on a device of its own.

use std::error::Error;
use std::sync::Arc;

use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use perceiver::Engine;
use perceiver_ballista::executor;
use perceiver_ballista::options::Options;

const USAGE: &str = "perceiver-executor --model FOLDER [options]

  --model FOLDER         the model: the same as everywhere
  --image HxW            height and width of pictures, where they are not the usual ones
  --device NAME          auto, gpu, cpu, or part of an adapter's name (auto)
  --scheduler HOST:PORT  the scheduler (127.0.0.1:50050)
  --host HOST            address to listen at, where other executors reach it (127.0.0.1)
  --port PORT            port to listen at; the next one is taken too (50051)
  --cores COUNT          partitions at a time (as many as there are cores)
  --memory BYTES         memory of queries, beside the model (70 % of the machine's)
  --work-dir FOLDER      where results lie between stages (a temporary folder)";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(USAGE)?;
    let engine = Engine::named(&options.get("device", "auto".to_owned())?)?;
    let functions = options.functions(&engine)?;
    let scheduler: String = options.get("scheduler", "127.0.0.1:50050".to_owned())?;
    let (host, port) = scheduler.rsplit_once(':').ok_or(USAGE)?;
    let own = options.get("port", 50051)?;
    let known = ExecutorProcessConfig::default();
    let config = ExecutorProcessConfig {
        scheduler_host: host.to_owned(),
        scheduler_port: port.parse()?,
        scheduler_connect_timeout_seconds: 60,
        bind_host: options.get("host", "127.0.0.1".to_owned())?,
        external_host: Some(options.get("host", "127.0.0.1".to_owned())?),
        port: own,
        grpc_port: own + 1,
        vcores: options.get("cores", known.vcores)?,
        memory_pool_size: options.all("memory").last().map(str::parse).transpose()?,
        work_dir: options.all("work-dir").last().map(str::to_owned),
        ..known
    };
    let device = engine.device_name();
    eprintln!(
        "executor at {}:{own} on {device}, model {:016x}",
        config.bind_host,
        functions.fingerprint()
    );
    start_executor_process(Arc::new(executor(&functions, config))).await?;
    Ok(())
}
