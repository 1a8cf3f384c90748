//! Queries to a Ballista cluster whose scheduler and executors have the functions of a model.

use std::error::Error;

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{ParquetReadOptions, SessionConfig};
use perceiver::Engine;
use perceiver_ballista::client;
use perceiver_ballista::options::Options;

const USAGE: &str = "perceiver-client --model FOLDER [options] SQL...

  --model FOLDER      the model: the same as everywhere; it only plans with it
  --image HxW         height and width of pictures, where they are not the usual ones
  --scheduler URL     the scheduler (http://127.0.0.1:50050)
  --table NAME=PATH   a Parquet file or folder, where executors find it too; may be repeated
  --partitions COUNT  partitions of a query's stages (16)";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(USAGE)?;
    let functions = options.functions(&Engine::cpu())?;
    let url: String = options.get("scheduler", "http://127.0.0.1:50050".to_owned())?;
    let config = SessionConfig::new().with_target_partitions(options.get("partitions", 16)?);
    let ctx = client(&functions, &url, config).await?;
    for table in options.all("table") {
        let (name, path) = table.split_once('=').ok_or(USAGE)?;
        ctx.register_parquet(name, path, ParquetReadOptions::default()).await?;
    }
    for sql in &options.rest {
        println!("{}", pretty_format_batches(&ctx.sql(sql).await?.collect().await?)?);
    }
    Ok(())
}
