//! The window and its loop: a frame is drawn sixty times a second where something can be seen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use perceiver::media::Frame;
use perceiver::{Prepared, wgpu};
use winit::application::ApplicationHandler;
use winit::dpi::LogicalSize;
use winit::event::{ElementState, KeyEvent, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, OwnedDisplayHandle};
use winit::keyboard::{Key, NamedKey};
use winit::window::{Window, WindowId};

use crate::Failure;
use crate::film::Film;
use crate::flow::Flow;
use crate::screen::Screen;
use crate::texture::texture;

const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// How often the title says how fast it goes.
const COUNTED: Duration = Duration::from_millis(500);
/// Submissions that the app lets the device have before it waits for the oldest.
const IN_FLIGHT: usize = 2;
/// A device that is lost again so soon is not opened once more.
const SOON: Duration = Duration::from_secs(1);

pub(crate) struct App {
    film: Film,
    time: Option<Duration>,
    display: OwnedDisplayHandle,
    window: Option<Arc<Window>>,
    stage: Option<Stage>,
    hidden: bool,
    begin: Instant,
    /// When the next frame is due.
    next: Instant,
    drawn: Drawn,
    failure: Option<Failure>,
}

/// What there was.
#[derive(Default, Clone, Copy)]
struct Drawn {
    frames: u64,
    flows: u64,
}

/// What lives on the device.
struct Stage {
    video: Option<Video>,
    flow: Flow,
    screen: Screen,
    opened: Instant,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    /// When the video's next frame is due.
    due: Instant,
    /// What there was in all, and when the title last said how fast it goes, by then.
    drawn: Drawn,
    told: (Instant, Drawn),
}

/// The last two frames of the video.
struct Video {
    textures: [wgpu::Texture; 2],
    pictures: [wgpu::BindGroup; 2],
    size: [u32; 2],
    /// Frames so far; an odd number is in the second texture.
    n: u64,
}

impl App {
    pub(crate) fn new(film: Film, time: Option<Duration>, display: OwnedDisplayHandle) -> App {
        let begin = Instant::now();
        App {
            film,
            time,
            display,
            window: None,
            stage: None,
            hidden: false,
            begin,
            next: begin,
            drawn: Drawn::default(),
            failure: None,
        }
    }

    /// What the loop ended with, in words.
    pub(crate) fn outcome(self) -> Result<String, Failure> {
        let Drawn { frames, flows } = self.drawn;
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(format!("{frames} frames, {flows} flows")),
        }
    }

    fn open(&mut self, events: &ActiveEventLoop) -> Result<(), Failure> {
        if self.window.is_none() {
            let attributes = Window::default_attributes()
                .with_title("optical flow")
                .with_inner_size(LogicalSize::new(640, 480));
            let window = Arc::new(events.create_window(attributes)?);
            self.stage = Some(Stage::open(&window, &self.display, None, self.drawn)?);
            self.window = Some(window);
            // Compiling is not part of the time that is asked for.
            self.begin = Instant::now();
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(), Failure> {
        let (Some(stage), Some(window)) = (&mut self.stage, &self.window) else {
            return Ok(());
        };
        let outcome = stage.frame(&mut self.film, window);
        self.drawn = stage.drawn;
        let Some(reason) = stage.screen.lost() else {
            outcome?;
            return stage.screen.error().map_or(Ok(()), |e| Err(e.into()));
        };
        stage.flow.device_lost(&reason);
        if stage.opened.elapsed() < SOON {
            return Err(format!("the device is lost again: {reason}").into());
        }
        eprintln!("the device is lost and opened again: {reason}");
        // The old surface goes before the new one comes: a window has one.
        let before = self.stage.take().map(|stage| stage.flow.prepared);
        self.stage = Some(Stage::open(window, &self.display, before.as_ref(), self.drawn)?);
        Ok(())
    }

    /// Ends the loop with what went wrong, if anything did.
    fn end_on_failure(&mut self, outcome: Result<(), Failure>, events: &ActiveEventLoop) {
        if let Err(failure) = outcome {
            self.failure.get_or_insert(failure);
            events.exit();
        }
    }
}

impl ApplicationHandler for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        let opened = self.open(events);
        self.end_on_failure(opened, events);
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested => events.exit(),
            WindowEvent::Occluded(hidden) => self.hidden = hidden,
            WindowEvent::Resized(size) => {
                if let Some(stage) = &mut self.stage {
                    stage.screen.resize(size);
                }
            }
            WindowEvent::KeyboardInput {
                event: KeyEvent { logical_key, state: ElementState::Pressed, .. },
                ..
            } => match logical_key.as_ref() {
                Key::Named(NamedKey::Escape) => events.exit(),
                Key::Character("l" | "L") => {
                    if let Some(stage) = &self.stage {
                        stage.screen.device.destroy();
                    }
                }
                _ => {}
            },
            WindowEvent::RedrawRequested if !self.hidden => {
                let drawn = self.frame();
                self.end_on_failure(drawn, events);
            }
            _ => {}
        }
    }

    fn about_to_wait(&mut self, events: &ActiveEventLoop) {
        let now = Instant::now();
        let end = self.time.map(|time| self.begin + time);
        if end.is_some_and(|end| now >= end) {
            events.exit();
            return;
        }
        if now >= self.next {
            self.next = (self.next + FRAME).max(now);
            if let Some(window) = self.window.as_ref().filter(|_| !self.hidden) {
                window.request_redraw();
            }
        }
        let wake = end.map_or(self.next, |end| end.min(self.next));
        events.set_control_flow(ControlFlow::WaitUntil(wake));
    }

    fn exiting(&mut self, _: &ActiveEventLoop) {
        // Surfaces end before their window and the connection to its system.
        self.stage = None;
        self.window = None;
    }
}

impl Stage {
    fn open(
        window: &Arc<Window>,
        display: &OwnedDisplayHandle,
        before: Option<&Prepared>,
        drawn: Drawn,
    ) -> Result<Stage, Failure> {
        let screen = Screen::open(window, display)?;
        let flow = Flow::open(&screen, before)?;
        let now = Instant::now();
        let (video, in_flight, told) = (None, VecDeque::new(), (now, drawn));
        Ok(Stage { video, flow, screen, opened: now, in_flight, due: now, drawn, told })
    }

    /// Draws a frame of the window, with a slice of the model before it.
    fn frame(&mut self, film: &mut Film, window: &Window) -> Result<(), Failure> {
        let device = self.screen.device.clone();
        device.poll(wgpu::PollType::Poll)?;
        if self.in_flight.len() >= IN_FLIGHT {
            let submission_index = self.in_flight.front().cloned();
            let timeout = Some(Duration::from_secs(1));
            match device.poll(wgpu::PollType::Wait { submission_index, timeout }) {
                // The device is busy, with another app say; this frame is left out.
                Err(wgpu::PollError::Timeout) => return Ok(()),
                waited => waited.map(|_| ())?,
            }
            self.in_flight.pop_front();
        }
        let Some(target) = self.screen.acquire()? else {
            return Ok(());
        };
        self.advance(film)?;
        let label = Some("frame");
        let descriptor = wgpu::CommandEncoderDescriptor { label };
        let mut encoder = device.create_command_encoder(&descriptor);
        if let Some(video) = &self.video {
            let [before, latest] = video.last_two();
            let ended = self.flow.step(&self.screen, [before, latest], video.n, &mut encoder)?;
            self.drawn.flows += u64::from(ended);
        }
        let video = self.video.as_ref().map(|v| (v.last_two()[1], v.size));
        self.screen.draw(video, self.flow.colours(), &target.texture, &mut encoder);
        self.in_flight.push_back(self.screen.queue.submit([encoder.finish()]));
        self.screen.present(target);
        self.count(window);
        Ok(())
    }

    /// The video's next frame, where it is due.
    fn advance(&mut self, film: &mut Film) -> Result<(), Failure> {
        let now = Instant::now();
        if now < self.due {
            return Ok(());
        }
        let Some(frame) = film.next_frame()? else {
            return Ok(());
        };
        // What was missed while nothing was drawn is not made up for.
        self.due = (self.due + film.time).max(now);
        let mut video = match self.video.take() {
            Some(video) => video,
            None => Video::new(&self.screen, &frame)?,
        };
        video.show(&self.screen, &frame);
        self.video = Some(video);
        Ok(())
    }

    /// Counts the frame, and tells of all since the last time.
    fn count(&mut self, window: &Window) {
        self.drawn.frames += 1;
        let (since, before) = self.told;
        if since.elapsed() >= COUNTED {
            let a_second = |n: u64| n as f64 / since.elapsed().as_secs_f64();
            let frames = a_second(self.drawn.frames - before.frames);
            let flows = a_second(self.drawn.flows - before.flows);
            let name = &self.screen.name;
            window.set_title(&format!(
                "optical flow: {frames:.0} frames a second, {flows:.1} flows ({name})"
            ));
            self.told = (Instant::now(), self.drawn);
        }
    }
}

impl Video {
    fn new(screen: &Screen, frame: &Frame) -> Result<Video, Failure> {
        let (width, height) = (frame.width(), frame.height());
        let most = screen.device.limits().max_texture_dimension_2d;
        if width.max(height) > most as usize {
            let what = format!("frames of {width}×{height} pixels; the device has {most} a side");
            return Err(what.into());
        }
        let size = [width as u32, height as u32];
        let usage = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST;
        let format = wgpu::TextureFormat::Rgba8Unorm;
        let textures = [(); 2].map(|()| texture(&screen.device, size, format, usage));
        let pictures = [0, 1].map(|at| screen.picture(&textures[at]));
        Ok(Video { textures, pictures, size, n: 0 })
    }

    /// Puts the next frame in the place of the one before the last. Frames of a file have one size.
    fn show(&mut self, screen: &Screen, frame: &Frame) {
        self.n += 1;
        let texels: Vec<u8> =
            frame.rgb().chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        let into = &self.textures[(self.n % 2) as usize];
        let bytes_per_row = Some(4 * self.size[0]);
        let layout = wgpu::TexelCopyBufferLayout { bytes_per_row, ..Default::default() };
        screen.queue.write_texture(into.as_image_copy(), &texels, layout, into.size());
    }

    /// The frame before the last, and the last.
    fn last_two(&self) -> [&wgpu::BindGroup; 2] {
        let at = (self.n % 2) as usize;
        [&self.pictures[1 - at], &self.pictures[at]]
    }
}
