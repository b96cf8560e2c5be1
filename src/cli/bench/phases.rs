//! The phases in their order, and the figures of each.

use std::time::Duration;

use anyhow::{Context, Result};

use super::load::{Pace, Phase, Shape};
use super::options::{Options, What};
use super::report::Report;
use super::run::{Stretch, Taken, run};
use super::scheduler::Scheduler;
use super::usage;

/// A scheduler to measure, and what with.
pub(super) struct Bench<'a> {
    pub(super) scheduler: Scheduler,
    pub(super) options: &'a Options,
    pub(super) shape: Shape,
}

impl Bench<'_> {
    /// Runs every phase that the options ask for.
    pub(super) async fn phases(&self, report: &mut Report) -> Result<()> {
        let tasks = self.options.tasks;
        self.run("warm-up", self.throughput(tasks / 10 + 100)).await?;
        usage::reset_peak(&self.scheduler.pids());
        let mut noise = Noise::default();
        if self.has(What::E2e) {
            let taken = self.run("e2e", self.throughput(tasks)).await?;
            noise.add(taken.whole);
            self.show_e2e(&taken, report);
        }
        if self.has(What::Submit) || self.has(What::Drain) {
            let staged = Phase { staged: true, ..self.throughput(tasks) };
            let taken = self.run("submit and drain", staged).await?;
            noise.add(taken.whole);
            if self.has(What::Submit) {
                self.show_throughput("submit", "submitted", taken.fill, report);
            }
            if self.has(What::Drain) {
                self.show_throughput("drain", "drained", taken.drain, report);
            }
        }
        if self.has(What::Serial) {
            self.serial(&mut noise, report).await?;
        }
        if self.has(What::Open) {
            self.open(&mut noise, report).await?;
        }
        report.show("foreign_cores", "cores that others had meanwhile", noise.cores(), "");
        Ok(())
    }

    async fn serial(&self, noise: &mut Noise, report: &mut Report) -> Result<()> {
        let tasks = self.options.serial_tasks;
        let phase = Phase { pace: Pace::Serial, ..self.latency(tasks / 10 + 10) };
        self.run("warm-up of serial", phase).await?;
        let taken = self.run("serial", Phase { tasks, ..phase }).await?;
        noise.add(taken.whole);
        report.latencies("serial_us", "one at a time", &taken.latencies);
        let per_task = taken.whole.cpu.server_s / tasks as f64 * 1e6;
        report.set("serial_server_cpu_us", per_task.round());
        Ok(())
    }

    async fn open(&self, noise: &mut Noise, report: &mut Report) -> Result<()> {
        let (rate, phase) = (self.options.rate, self.latency(self.options.open_tasks));
        let limit = self.limit() + Duration::from_secs_f64(phase.tasks as f64 / rate);
        let taken = run(&self.scheduler, &self.shape, phase, Some(rate), limit);
        let taken = taken.await.context("phase open")?;
        noise.add(taken.whole);
        let label = format!("{rate} tasks/s, from when due");
        report.latencies("open_us", &label, &taken.latencies);
        report.set("open_rate", rate);
        report.set("open_server_cores", taken.whole.cpu.server_s / taken.whole.s);
        Ok(())
    }

    fn show_e2e(&self, taken: &Taken, report: &mut Report) {
        self.show_throughput("e2e", "round trips", taken.whole, report);
        let Stretch { s, cpu } = taken.whole;
        report.show("client_cores", "cores of this load", cpu.client_s / s, "");
        let pids = self.scheduler.pids();
        if pids.is_empty() {
            return;
        }
        let per_100k = cpu.server_s / self.options.tasks as f64 * 1e5;
        report.show("server_cpu_s_per_100k", "CPU time of 100,000 tasks", per_100k, " s");
        report.show("server_cores", "cores of the scheduler", cpu.server_s / s, "");
        let peak = usage::of(&pids).peak as f64 / 1e6;
        report.show("peak_rss_mb", "most resident memory", peak, " MB");
    }

    fn show_throughput(&self, name: &str, label: &str, stretch: Stretch, report: &mut Report) {
        let tasks = self.options.tasks as f64;
        report.show(&format!("{name}_tps"), label, tasks / stretch.s, " tasks/s");
        if name != "e2e" && !self.scheduler.pids().is_empty() {
            let per_100k = stretch.cpu.server_s / tasks * 1e5;
            report.set(&format!("{name}_cpu_s_per_100k"), (per_100k * 1e3).round() / 1e3);
        }
    }

    /// Runs a phase; an error names it.
    pub(super) async fn run(&self, name: &str, phase: Phase) -> Result<Taken> {
        let taken = run(&self.scheduler, &self.shape, phase, None, self.limit());
        taken.await.with_context(|| format!("phase {name}"))
    }

    fn has(&self, what: What) -> bool {
        self.options.has(what)
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.options.limit)
    }

    /// As many tasks at once as the windows allow.
    pub(super) fn throughput(&self, tasks: u64) -> Phase {
        Phase {
            tasks,
            clients: usize::from(self.options.clients),
            workers: usize::from(self.options.workers),
            staged: false,
            pace: Pace::Window(self.options.window),
            depth: self.options.depth,
            watch: true,
        }
    }

    /// One client, and workers that take one task at a time.
    fn latency(&self, tasks: u64) -> Phase {
        Phase { clients: 1, depth: 1, ..self.throughput(tasks) }
    }
}

/// How much of the machine others had while we measured.
#[derive(Default)]
struct Noise {
    cpu_s: f64,
    s: f64,
}

impl Noise {
    fn add(&mut self, stretch: Stretch) {
        self.cpu_s += stretch.cpu.foreign_s;
        self.s += stretch.s;
    }

    fn cores(&self) -> f64 {
        self.cpu_s / self.s.max(1e-9)
    }
}
