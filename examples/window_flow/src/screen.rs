//! The window's surface and the device that draws into it.

use std::sync::{Arc, Mutex, PoisonError};

use perceiver::{Engine, wgpu};
use winit::dpi::PhysicalSize;
use winit::event_loop::OwnedDisplayHandle;
use winit::window::Window;

use crate::Failure;

/// What a device has told of itself.
#[derive(Default)]
struct Told {
    lost: Option<String>,
    error: Option<String>,
}

pub(crate) struct Screen {
    instance: wgpu::Instance,
    window: Arc<Window>,
    /// `None` only while it is made again.
    surface: Option<wgpu::Surface<'static>>,
    config: wgpu::SurfaceConfiguration,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) name: String,
    /// Whether the device is a processor that stands for a GPU.
    pub(crate) software: bool,
    told: Arc<Mutex<Told>>,
    layout: wgpu::BindGroupLayout,
    between: wgpu::Sampler,
    video: wgpu::RenderPipeline,
    flow: wgpu::RenderPipeline,
    smaller: wgpu::RenderPipeline,
}

impl Screen {
    pub(crate) fn open(
        window: &Arc<Window>,
        display: &OwnedDisplayHandle,
    ) -> Result<Screen, Failure> {
        let display = Box::new(display.clone());
        let descriptor = wgpu::InstanceDescriptor::new_with_display_handle(display);
        let instance = wgpu::Instance::new(descriptor);
        let surface = instance.create_surface(window.clone())?;
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            compatible_surface: Some(&surface),
            ..Default::default()
        };
        let adapter = pollster::block_on(instance.request_adapter(&options))
            .map_err(|e| format!("no GPU, nor a driver that stands for one, draws here: {e}"))?;
        let useful = Engine::useful_features();
        let request = wgpu::DeviceDescriptor {
            label: Some("app"),
            required_limits: adapter.limits(),
            required_features: adapter.features() & useful,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&request))?;
        let told = Arc::new(Mutex::new(Told::default()));
        let tell = told.clone();
        device.set_device_lost_callback(move |why, reason| {
            let reason = if reason.is_empty() { format!("{why:?}") } else { reason };
            lock(&tell).lost.get_or_insert(reason);
        });
        // Without it wgpu would panic.
        let tell = told.clone();
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            lock(&tell).error.get_or_insert(e.to_string());
        }));

        let PhysicalSize { width, height } = window.inner_size();
        let config = surface.get_default_config(&adapter, width.max(1), height.max(1));
        let mut config = config.ok_or("the device does not draw into this window")?;
        config.present_mode = wgpu::PresentMode::Fifo;
        // Bytes of videos are shown as they are.
        let plain = [wgpu::TextureFormat::Bgra8Unorm, wgpu::TextureFormat::Rgba8Unorm];
        let formats = surface.get_capabilities(&adapter).formats;
        config.format = plain.into_iter().find(|f| formats.contains(f)).unwrap_or(config.format);
        surface.configure(&device, &config);

        let layout = layout(&device);
        let between = device.create_sampler(&wgpu::SamplerDescriptor {
            label: Some("between"),
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            ..Default::default()
        });
        let [video, flow, smaller] = pipelines(&device, &layout, config.format);
        let wgpu::AdapterInfo { name, device_type, .. } = adapter.get_info();
        let software = device_type == wgpu::DeviceType::Cpu;
        let (window, surface) = (window.clone(), Some(surface));
        Ok(Screen {
            instance,
            window,
            surface,
            config,
            device,
            queue,
            name,
            software,
            told,
            layout,
            between,
            video,
            flow,
            smaller,
        })
    }

    /// Why the device is lost, if it is.
    pub(crate) fn lost(&self) -> Option<String> {
        lock(&self.told).lost.clone()
    }

    /// What wgpu has refused, if it has.
    pub(crate) fn error(&self) -> Option<String> {
        lock(&self.told).error.clone()
    }

    /// The window has another size; a minimised one has none, and keeps what it had.
    pub(crate) fn resize(&mut self, size: PhysicalSize<u32>) {
        let most = self.device.limits().max_texture_dimension_2d;
        if size.width > 0 && size.height > 0 {
            self.config.width = size.width.min(most);
            self.config.height = size.height.min(most);
            self.configure();
        }
    }

    fn fits(&self, size: PhysicalSize<u32>) -> bool {
        (self.config.width, self.config.height) == (size.width, size.height)
    }

    fn configure(&self) {
        if let Some(surface) = &self.surface {
            surface.configure(&self.device, &self.config);
        }
    }

    /// What to draw the next frame into; `None` where there is nothing to draw into now.
    pub(crate) fn acquire(&mut self) -> Result<Option<wgpu::SurfaceTexture>, Failure> {
        use wgpu::CurrentSurfaceTexture as Current;
        let size = self.window.inner_size();
        let Some(surface) = self.surface.as_ref().filter(|_| size.width > 0 && size.height > 0)
        else {
            return Ok(None);
        };
        match surface.get_current_texture() {
            Current::Success(texture) => return Ok(Some(texture)),
            // Where the size is right it is a matter of taste, which a driver may have in every frame.
            Current::Suboptimal(texture) if self.fits(size) => return Ok(Some(texture)),
            Current::Suboptimal(texture) => {
                drop(texture);
                self.resize(size);
            }
            Current::Outdated => self.resize(size),
            Current::Lost => {
                // A window has one surface at a time.
                self.surface = None;
                self.surface = Some(self.instance.create_surface(self.window.clone())?);
                self.resize(size);
            }
            // The window is hidden, the system is busy, or what went wrong has been told of.
            Current::Timeout | Current::Occluded | Current::Validation => {}
        }
        Ok(None)
    }

    pub(crate) fn present(&self, texture: wgpu::SurfaceTexture) {
        self.window.pre_present_notify();
        self.queue.present(texture);
    }

    /// A texture as it is drawn.
    pub(crate) fn picture(&self, texture: &wgpu::Texture) -> wgpu::BindGroup {
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("picture"),
            layout: &self.layout,
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::TextureView(&view),
                },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: wgpu::BindingResource::Sampler(&self.between),
                },
            ],
        })
    }

    /// Draws a picture into a smaller texture.
    pub(crate) fn make_smaller(
        &self,
        picture: &wgpu::BindGroup,
        into: &wgpu::Texture,
        encoder: &mut wgpu::CommandEncoder,
    ) {
        let mut pass = pass(into, encoder);
        pass.set_pipeline(&self.smaller);
        pass.set_bind_group(0, picture, &[]);
        pass.draw(0..3, 0..1);
    }

    /// Draws the video, if there is a frame of it, of this width and height, and the flow over it, if
    /// that is known.
    pub(crate) fn draw(
        &self,
        video: Option<(&wgpu::BindGroup, [u32; 2])>,
        flow: Option<&wgpu::BindGroup>,
        into: &wgpu::Texture,
        encoder: &mut wgpu::CommandEncoder,
    ) {
        let mut pass = pass(into, encoder);
        let Some((video, size)) = video else {
            return;
        };
        // As large as the window lets it be, in the middle.
        let [across, down] = [into.width() as f32, into.height() as f32];
        let [width, height] = size.map(|side| side as f32);
        let scale = (across / width).min(down / height);
        let [width, height] = [(width * scale).min(across), (height * scale).min(down)];
        let [left, top] = [(across - width) / 2.0, (down - height) / 2.0];
        pass.set_viewport(left, top, width, height, 0.0, 1.0);
        for (pipeline, picture) in [(&self.video, Some(video)), (&self.flow, flow)] {
            let Some(picture) = picture else { continue };
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, picture, &[]);
            pass.draw(0..3, 0..1);
        }
    }
}

fn lock(told: &Mutex<Told>) -> std::sync::MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pass that begins with black.
fn pass<'e>(into: &wgpu::Texture, encoder: &'e mut wgpu::CommandEncoder) -> wgpu::RenderPass<'e> {
    let view = into.create_view(&wgpu::TextureViewDescriptor::default());
    encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
        label: Some("pictures"),
        color_attachments: &[Some(wgpu::RenderPassColorAttachment {
            view: &view,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations::default(),
        })],
        ..Default::default()
    })
}

/// A picture and how to read between its pixels.
fn layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::FRAGMENT,
        ty,
        count: None,
    };
    let texture = wgpu::BindingType::Texture {
        sample_type: wgpu::TextureSampleType::Float { filterable: true },
        view_dimension: wgpu::TextureViewDimension::D2,
        multisampled: false,
    };
    let sampler = wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering);
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("picture"),
        entries: &[entry(0, texture), entry(1, sampler)],
    })
}

/// What draws the video, the flow over it, and small frames.
fn pipelines(
    device: &wgpu::Device,
    layout: &wgpu::BindGroupLayout,
    window: wgpu::TextureFormat,
) -> [wgpu::RenderPipeline; 3] {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("draw"),
        source: wgpu::ShaderSource::Wgsl(include_str!("draw.wgsl").into()),
    });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some("draw"),
        bind_group_layouts: &[Some(layout)],
        immediate_size: 0,
    });
    let frame = wgpu::TextureFormat::Rgba8Unorm;
    let over = wgpu::BlendState::ALPHA_BLENDING;
    [("video", window, None), ("flow", window, Some(over)), ("smaller", frame, None)].map(
        |(entry, format, blend)| {
            let write_mask = wgpu::ColorWrites::ALL;
            device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                label: Some(entry),
                layout: Some(&layout),
                vertex: wgpu::VertexState {
                    module: &module,
                    entry_point: Some("corner"),
                    compilation_options: wgpu::PipelineCompilationOptions::default(),
                    buffers: &[],
                },
                fragment: Some(wgpu::FragmentState {
                    module: &module,
                    entry_point: Some(entry),
                    compilation_options: wgpu::PipelineCompilationOptions::default(),
                    targets: &[Some(wgpu::ColorTargetState { format, blend, write_mask })],
                }),
                primitive: wgpu::PrimitiveState::default(),
                depth_stencil: None,
                multisample: wgpu::MultisampleState::default(),
                multiview_mask: None,
                cache: None,
            })
        },
    )
}
