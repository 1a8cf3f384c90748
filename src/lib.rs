#![doc = include_str!("../README.md")]

pub mod checkpoint;
mod cpu;
mod error;
mod gpu;
mod graph;
#[cfg(feature = "hub")]
pub mod hub;
mod kernels;
mod measure;
pub mod media;
mod memory;
mod model;
mod open;
mod output;
mod parallel;
mod perceiver;
mod random;
pub mod stream;
pub mod tasks;
mod tensor;
mod weights;

pub use error::{Error, Result, TensorReport};
pub use gpu::{CachePlace, SubmissionBudget};
pub use graph::{Control, NodeReport, PlanReport, StageReport, WindowReport};
pub use measure::{profile, tune};
pub use memory::{MemorySize, memory_limit, set_memory_limit};
pub use model::{
    BufferElement, BufferRows, Cursor, DeviceChoice, Engine, GpuInput, GpuOutput, Model, PixelMap,
    Precision, Prepared, RunOptions, Step, TensorInfo, TextureRegion,
};
pub use perceiver::{Architecture, Description, PerceiverConfig, ProblemType, Sizes};
pub use perceiver::{blueprint, families};
pub use tensor::{DType, Data, NamedTensors, Tensor, TensorView};
pub use weights::{RandomTensors, TensorSource};
pub use wgpu;

/// What the project's own tests, benches and command need beside the public surface. It promises
/// nothing and may change in any release.
#[doc(hidden)]
pub mod internals {
    pub mod checkpoint {
        pub use crate::checkpoint::entry::Entry;
        pub use crate::checkpoint::file::TensorFile;
    }
    pub mod cpu {
        pub use crate::cpu::*;
    }
    pub mod gpu {
        pub use crate::gpu::*;
    }
    pub mod graph {
        pub use crate::graph::*;
    }
    pub mod kernels {
        pub use crate::kernels::*;
    }
    pub mod measure {
        pub use crate::measure::ceiling::ceiling;
        pub use crate::measure::predict::*;
        pub use crate::measure::tune::tune;
    }
    pub mod media {
        #[cfg(feature = "media")]
        pub use crate::media::frames::{natural, pictures_of};
        pub use crate::media::resample::resize;
        pub use crate::media::ycbcr::{Chroma, Range};
        #[cfg(feature = "media")]
        pub mod gif {
            pub use crate::media::gif::*;
        }
        pub mod y4m {
            pub use crate::media::y4m::*;
        }
    }
    pub mod memory {
        pub use crate::memory::{allow, room};
    }
    pub mod model {
        pub use crate::model::*;
    }
    pub mod open {
        pub use crate::open::regular;
    }
    pub mod output {
        #[cfg(feature = "files")]
        pub use crate::output::{check_place, discard_unfinished};
        pub use crate::output::{whole_file, whole_folder, write_bytes, write_whole};
    }
    pub mod perceiver {
        pub use crate::perceiver::*;
    }
    pub mod random {
        pub use crate::random::*;
    }
    pub mod tasks {
        pub use crate::tasks::fill_mask::fill_with;
        pub use crate::tasks::flow::flow_with;
        pub use crate::tasks::flow_warp::brought_back;
        pub use crate::tasks::planes;
        pub mod flow_file {
            pub use crate::tasks::flow_file::{decode, encode};
        }
        pub mod flow_picture {
            pub use crate::tasks::flow_picture::{Wheel, longest};
        }
        pub mod flow_tiles {
            pub use crate::tasks::flow_tiles::*;
        }
        pub mod text {
            pub use crate::tasks::text::*;
        }
    }
    pub mod tensor {
        pub use crate::tensor::*;
    }
    pub mod weights {
        pub use crate::weights::*;
    }
}
