//! The model: a prepared run between textures of the app, stepped a slice a frame.

use std::time::Duration;

use perceiver::{Cursor, Engine, GpuInput, GpuOutput, Prepared, RunOptions, TextureRegion, wgpu};

use crate::Failure;
use crate::screen::Screen;
use crate::texture::texture;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/flow-tiny");
/// Time on the device that a frame of the window gives to the model.
const SLICE: Duration = Duration::from_millis(4);
/// The same on a processor that stands for a GPU, where a run takes seconds: fewer frames, but a flow now and then.
const SOFTWARE_SLICE: Duration = Duration::from_millis(50);
/// Width and height of frames, as the model takes them.
const SIZE: [u32; 2] = [128, 96];
/// The motion that has full colour, in pixels of these frames.
const LONGEST: f32 = 2.5;

/// Optical flow from one frame of the video to the next.
pub(crate) struct Flow {
    engine: Engine,
    pub(crate) prepared: Prepared,
    cursor: Option<Cursor>,
    /// The two frames, small.
    frames: [wgpu::Texture; 2],
    /// Its colours, and whether they are those of a run by now.
    colours: wgpu::BindGroup,
    known: bool,
    /// The video's frame that the last run began with.
    seen: u64,
}

impl Flow {
    /// The model on the screen's device; after a lost one as it was `before`.
    pub(crate) fn open(screen: &Screen, before: Option<&Prepared>) -> Result<Flow, Failure> {
        let engine = Engine::from_wgpu(screen.device.clone(), screen.queue.clone());
        let model = engine.load(MODEL)?;
        let [width, height] = SIZE;
        let shape = [1, 2, 27, height as usize, width as usize];
        let mut prepared = match before {
            Some(before) => before.rebuild(&model)?,
            None => model.prepare(&[("patches", &shape)], RunOptions::default())?,
        };
        let format = wgpu::TextureFormat::Rgba8Unorm;
        let drawn = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC;
        let frames = [(); 2].map(|()| texture(&screen.device, SIZE, format, drawn));
        let written = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST;
        let colours = texture(&screen.device, SIZE, format, written);
        let [first, second] = [0, 1].map(|at| TextureRegion::whole(&frames[at]));
        prepared.bind_input("patches", GpuInput::Frames(first, second))?;
        let region = TextureRegion::whole(&colours);
        prepared.bind_output("logits", GpuOutput::FlowColours { region, longest: LONGEST })?;
        // How long its kernels take here is learned before the first frame, in a run of nothing.
        prepared.run()?;
        let colours = screen.picture(&colours);
        Ok(Flow { engine, prepared, cursor: None, frames, colours, known: false, seen: 0 })
    }

    /// Records a slice of the run, or begins another where the video has gone on: `pictures` are its last two frames,
    /// of which the later one is number `n`. Whether the run ends with it.
    pub(crate) fn step(
        &mut self,
        screen: &Screen,
        pictures: [&wgpu::BindGroup; 2],
        n: u64,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<bool, Failure> {
        let mut run = match self.cursor.take() {
            Some(run) => run,
            None if n < 2 || n == self.seen => return Ok(false),
            None => {
                self.seen = n;
                for (picture, into) in pictures.into_iter().zip(&self.frames) {
                    screen.make_smaller(picture, into, encoder);
                }
                self.prepared.begin()?
            }
        };
        let slice = if screen.software { SOFTWARE_SLICE } else { SLICE };
        let step = self.prepared.step(&mut run, encoder, slice)?;
        if step.finished {
            self.known = true;
        } else {
            self.cursor = Some(run);
        }
        Ok(step.finished)
    }

    /// The colours, once there are any.
    pub(crate) fn colours(&self) -> Option<&wgpu::BindGroup> {
        Some(&self.colours).filter(|_| self.known)
    }

    /// Tells the engine that its device is lost, which wgpu tells the app alone.
    pub(crate) fn device_lost(&self, reason: &str) {
        self.engine.device_lost(reason);
    }
}
