//! What waiting tasks take: memory and disk of each, and the time of a restart with all of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::load::{Phase, now};
use super::phases::Bench;
use super::report::Report;
use super::usage::{self, Usage};

/// Tasks of the run that comes first, so that what every connection costs is not counted.
const FIRST: u64 = 2000;

/// Memory is read until it has not grown for so long: what was acknowledged last may still be under
/// way to where it stays.
const SETTLED: Duration = Duration::from_millis(300);

impl Bench<'_> {
    /// Fills, kills, starts again, counts and drains.
    pub(super) async fn queued(&mut self, report: &mut Report) -> Result<()> {
        self.run("warm-up", self.throughput(FIRST)).await?;
        let idle = self.settled().await;
        let disk = self.scheduler.disk_bytes();
        self.fill(report).await?;
        let full = self.settled().await;
        self.show_memory(idle, full, report);
        if let (Some(before), Some(after)) = (disk, self.scheduler.disk_bytes()) {
            let each = after.saturating_sub(before) as f64 / self.waiting() as f64;
            report.show("disk_per_task", "disk of a waiting task", each, " B");
        }
        if self.scheduler.is_restartable() {
            self.restart(report).await?;
        }
        self.drain(report).await
    }

    async fn fill(&self, report: &mut Report) -> Result<()> {
        let fill = Phase { workers: 0, watch: false, ..self.throughput(self.waiting()) };
        let taken = self.run("fill", fill).await?.fill;
        report.show("fill_tps", "filled", self.waiting() as f64 / taken.s, " tasks/s");
        report.set("foreign_cores", taken.cpu.foreign_s / taken.s);
        self.count_all("after filling").await
    }

    fn show_memory(&self, idle: Usage, full: Usage, report: &mut Report) {
        if self.scheduler.pids().is_empty() {
            return;
        }
        let each = full.rss.saturating_sub(idle.rss) as f64 / self.waiting() as f64;
        report.show("rss_per_task", "memory of a waiting task", each, " B");
        report.show("idle_rss_mb", "resident when empty", idle.rss as f64 / 1e6, " MB");
        report.show("full_rss_mb", "resident when full", full.rss as f64 / 1e6, " MB");
    }

    async fn restart(&mut self, report: &mut Report) -> Result<()> {
        self.scheduler.kill().context("killing the scheduler")?;
        let began = now();
        self.scheduler.start_again().await.context("starting the scheduler again")?;
        let listening = began.elapsed();
        self.count_all("after the restart").await?;
        let counted = began.elapsed();
        report.show("listening_s", "restart until it listens", listening.as_secs_f64(), " s");
        report.show("restart_s", "restart until all are counted", counted.as_secs_f64(), " s");
        let rss = usage::of(&self.scheduler.pids()).rss as f64 / 1e6;
        report.show("restarted_rss_mb", "resident after the restart", rss, " MB");
        Ok(())
    }

    /// Does them all, whereby the workers see that each is there once.
    async fn drain(&self, report: &mut Report) -> Result<()> {
        let tasks = self.waiting();
        let phase = Phase { clients: 0, staged: true, watch: false, ..self.throughput(tasks) };
        let taken = self.run("drain", phase).await?;
        report.show("refill_drain_tps", "drained", tasks as f64 / taken.drain.s, " tasks/s");
        Ok(())
    }

    /// Everything must be there as soon as the scheduler answers.
    async fn count_all(&self, when: &str) -> Result<()> {
        let count = self.scheduler.count(&self.shape, "ready").await?;
        // Others may have tasks in a scheduler that was not started here.
        let shared = self.options.connect.is_some();
        let tasks = self.waiting();
        let complete = count == tasks || (shared && count > tasks);
        ensure!(complete, "{when}, {count} tasks are ready, not {tasks}");
        Ok(())
    }

    async fn settled(&self) -> Usage {
        let pids = self.scheduler.pids();
        let mut last = usage::of(&pids);
        loop {
            tokio::time::sleep(SETTLED).await;
            let next = usage::of(&pids);
            if next.rss <= last.rss {
                return next;
            }
            last = next;
        }
    }

    fn waiting(&self) -> u64 {
        self.options.queued
    }
}
