//! Perceiver models as functions of [DataFusion](datafusion): rows to latents is an aggregate.
//!
//! What an encoder knows of the rows that it has read, the maximum, the sum and the weighted sums of attention for each
//! latent, merges exactly with what another knows of other rows. So encoding is an aggregate like any other: partial states where
//! the data lies, in any order and any partition, and one merge. [`register`] gives a session three functions:
//!
//! | function | arguments | result |
//! |---|---|---|
//! | `perceiver_encode`, an aggregate | the columns of a row | the latents of the group: N lists of D numbers, `FixedSizeList<FixedSizeList<Float32, D>, N>`; NULL for no rows |
//! | `perceiver_decode` | latents, and which queries | the decoded rows |
//! | `perceiver_run` | an item's inputs, a list each | the item's outputs |
//!
//! # `perceiver_encode([modality,] [position,] values…)`
//!
//! * `modality`: its name, a text, where the model has several. All rows of a group, of whatever modality, make one state.
//! * `position`: a whole number, where rows lie on a grid: which cell, counted from 0, the last axis fastest, so `y * width + x` in a
//!   picture. Modalities without a grid are sets; where there are others, their rows may have any position, NULL too.
//! * `values`: the channels of a row, as so many columns of numbers, or as one list of numbers. Where modalities differ in width, a
//!   row of a narrower one has NULL in the columns that it does not need.
//!
//! Numbers of any type are cast to `Float32`. Types and counts are checked when a query is planned. A NULL, a position outside
//! the grid and a number that is not finite end the query with an error that names them; `FILTER (WHERE …)` leaves such rows out.
//! Every cell should come once in a group; one that never comes counts as masked.
//!
//! Between stages of a plan a group is one `Binary` value, with the fingerprint of the model: its rows as they are while these
//! are smaller than the encoder's state, that state afterwards (N·H·(C + 2) numbers or so, whatever the number of rows). What a
//! group takes is bounded: its state, and rows that are held back until they fill a chunk, at most 16384 and 4 MiB of them; all groups of a
//! partition hold back 32 MiB of rows at the most. That is what the accumulators tell the memory pool. What the model and its sessions take is not counted:
//! one encoder a thread that reads at the same time, each within the budget of the model
//! ([`Model::set_memory_budget`]).
//!
//! # `perceiver_decode(latents, ['output',] [queries,] [content])`
//!
//! `queries` is the number of one query, and the result one row, `FixedSizeList<Float32, E>`; or it is a list of them, or left out for
//! all, and the result a list of rows. The output is named, by a literal, where the model has several. `content` are the numbers
//! that queries bring along, one query after the other, where they do. Rows of a batch with the same latents are decoded together:
//! a list of queries beside each latents is far cheaper than a join that copies the latents beside each query. A NULL gives NULL.
//!
//! # `perceiver_run(inputs…)`
//!
//! Each argument is a list of numbers, an input of one item with its axes one after the other, in the order that
//! [`Blueprint::input_shapes`](perceiver::blueprint::Blueprint::input_shapes) has; inputs that may be left out come last. The result is a list of
//! numbers, or a struct of such lists if there are several outputs. A NULL gives NULL.
//!
//! ```
//! # use std::sync::Arc;
//! # use datafusion::prelude::SessionContext;
//! # use perceiver::blueprint::{Modality, Output, PerceiverBuilder};
//! # use perceiver::{Engine, RandomTensors};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> datafusion::common::Result<()> {
//! # let blueprint = PerceiverBuilder::new(4, 8)
//! #     .input(Modality::given("points", 100, 2).varies())
//! #     .cross("read", 1)
//! #     .decoder(1, false)
//! #     .output(Output::new("class", Modality::learned("class", 1, 8)).linear(3))
//! #     .build()
//! #     .expect("a blueprint");
//! # let weights = RandomTensors::new(blueprint.tensors().expect("tensors"), 1);
//! # let model = Engine::cpu().load_blueprint(blueprint, Arc::new(weights)).expect("a model");
//! let ctx = SessionContext::new();
//! perceiver_datafusion::register(&ctx, &model)?;
//! let query = "SELECT clip, perceiver_decode(perceiver_encode(x, y), 0) AS class
//!     FROM (VALUES (1, 0.5, 0.25), (2, 1.0, 0.5), (1, 0.0, 2.0)) AS points(clip, x, y) GROUP BY clip";
//! let classes = ctx.sql(query).await?.collect().await?;
//! # assert_eq!(classes.iter().map(|b| b.num_rows()).sum::<usize>(), 2);
//! # Ok(())
//! # }
//! ```

mod decode;
mod encode;
mod group;
mod rows;
mod run;
mod scalar;
mod shared;
mod token;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;
use perceiver::{Model, Sizes};

use decode::Decode;
use encode::Encode;
use run::Run;
use scalar::Named;
use shared::{Shared, external};
use token::Token;

/// Registers `perceiver_encode`, `perceiver_decode` and `perceiver_run` of this model, with inputs of the usual sizes.
/// [`Functions`] has other sizes and names. A model of which a function is not there (one that reads its inputs several times cannot
/// encode rows) says so when a query is planned.
///
/// # Errors
/// [`External`](datafusion::common::DataFusionError::External) with the [`perceiver::Error`] of a model whose weights cannot be
/// read.
pub fn register(ctx: &SessionContext, model: impl Borrow<Model>) -> Result<()> {
    let model = model.borrow();
    Functions::new(model, &model.description().usual_sizes(), "perceiver")?.register(ctx);
    Ok(())
}

/// The functions of a model.
#[derive(Clone)]
pub struct Functions {
    prefix: String,
    shared: Arc<Shared>,
    aggregate: Arc<AggregateUDF>,
    scalars: [Arc<ScalarUDF>; 2],
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Functions {
    /// The functions of a model for inputs of these sizes, named `PREFIX_encode`, `PREFIX_decode` and `PREFIX_run`. They share
    /// the model's device, from as many threads as call them.
    ///
    /// # Errors
    /// As [`register`].
    pub fn new(model: &Model, sizes: &Sizes, prefix: &str) -> Result<Self> {
        let shared = Arc::new(Shared::new(model, sizes).map_err(external)?);
        Ok(Self::of(prefix, shared, None))
    }

    fn of(prefix: &str, shared: Arc<Shared>, plan: Option<Token>) -> Self {
        let name = |function: &str| format!("{prefix}_{function}");
        let encode = Encode::new(name("encode"), shared.clone(), plan);
        let decode = Named::new(name("decode"), shared.clone(), Decode, plan);
        let run = Named::new(name("run"), shared.clone(), Run, plan);
        Functions {
            prefix: prefix.to_owned(),
            shared,
            aggregate: Arc::new(AggregateUDF::from(encode)),
            scalars: [Arc::new(ScalarUDF::from(decode)), Arc::new(ScalarUDF::from(run))],
        }
    }

    /// Gives them to a session.
    pub fn register(&self, ctx: &SessionContext) {
        ctx.register_udaf((*self.aggregate).clone());
        for function in &self.scalars {
            ctx.register_udf((**function).clone());
        }
    }

    /// The aggregate.
    #[must_use]
    pub fn aggregate(&self) -> &Arc<AggregateUDF> {
        &self.aggregate
    }

    /// The scalar functions, decode and run.
    #[must_use]
    pub fn scalars(&self) -> &[Arc<ScalarUDF>; 2] {
        &self.scalars
    }

    /// Fingerprint of the model and the sizes: machines that work together must have the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.shared.fingerprint
    }

    /// What a plan that goes to another machine says about its model, 16 bytes.
    #[must_use]
    pub fn token(&self) -> Vec<u8> {
        let latents = &self.shared.blueprint.latents;
        let latents =
            [latents.rows, latents.channels].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Token { fingerprint: self.shared.fingerprint, latents }.to_bytes()
    }

    /// Whether a plan with this token is for this model.
    ///
    /// # Errors
    /// [`Execution`](datafusion::common::DataFusionError::Execution) with both fingerprints where it is not.
    pub fn check_plan(&self, token: &[u8]) -> Result<()> {
        match self.token_of(token)? {
            found if found.fingerprint == self.shared.fingerprint => Ok(()),
            found => found.refuse(self.aggregate.name(), self.shared.fingerprint),
        }
    }

    fn token_of(&self, token: &[u8]) -> Result<Token> {
        let name = self.aggregate.name();
        let missing = || exec_datafusion_err!("{name}: a plan does not tell its model");
        Token::from_bytes(token).ok_or_else(missing)
    }

    /// The functions for a plan with this token: these, or, where it is for another model, ones that can be planned
    /// with and refuse to run by name.
    ///
    /// # Errors
    /// [`Execution`](datafusion::common::DataFusionError::Execution) where the bytes are no token.
    pub fn of_plan(&self, token: &[u8]) -> Result<Self> {
        match self.token_of(token)? {
            found if found.fingerprint == self.shared.fingerprint => Ok(self.clone()),
            found => Ok(Self::of(&self.prefix, self.shared.clone(), Some(found))),
        }
    }
}
