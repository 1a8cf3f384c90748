//! A Ballista scheduler with the functions of a model.

use std::error::Error;

use ballista_scheduler::config::SchedulerConfig;
use perceiver::Engine;
use perceiver_ballista::options::Options;
use perceiver_ballista::{scheduler, serve};

const USAGE: &str = "perceiver-scheduler --model FOLDER [options]

  --model FOLDER               the model; it only plans with it
  --image HxW                  height and width of pictures, where they are not the usual ones
  --host HOST                  address to listen at (127.0.0.1)
  --port PORT                  port to listen at (50050)
  --executor-timeout SECONDS   an executor that is silent for so long is lost (180)";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(USAGE)?;
    let functions = options.functions(&Engine::cpu())?;
    let timeout = options.get("executor-timeout", 180)?;
    if timeout < 10 {
        return Err(format!(
            "--executor-timeout {timeout}: a busy executor asks every 5 seconds, so give 10 or more"
        )
        .into());
    }
    let config = SchedulerConfig {
        bind_host: options.get("host", "127.0.0.1".to_owned())?,
        external_host: options.get("host", "127.0.0.1".to_owned())?,
        bind_port: options.get("port", 50050)?,
        executor_timeout_seconds: timeout,
        // Shorter than the timeout, as Ballista wants it.
        expire_dead_executor_interval_seconds: (timeout / 2).clamp(1, 15),
        no_executors_grace_period_seconds: timeout,
        ..SchedulerConfig::default()
    };
    let config = scheduler(&functions, config);
    let address = format!("{}:{}", config.bind_host, config.bind_port);
    eprintln!("scheduler at {address}, model {:016x}", functions.fingerprint());
    serve(config, address.parse()?).await?;
    Ok(())
}
