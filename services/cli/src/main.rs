//! The `devart` command: reads its arguments and calls the library.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use devart_cli::commands::{
    agent, doctor, down, migrate, outbox, stand_in, status, stop, token, up, user, with_assertions,
};
use devart_cli::layout::Layout;
use devart_cli::people::Role;
use devart_cli::{demo, logs, names, output, say, setup, supervisor, warn};
use nix::sys::stat::{Mode, umask};

/// One command to a working control plane for GenAI agents.
#[derive(Parser)]
#[command(name = "devart", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install, build, start and migrate everything; print addresses and login
    Up {
        /// Stay in front and show the servers' logs; Ctrl-C stops everything
        #[arg(long)]
        foreground: bool,
        /// Do not run the demo, even on an empty database
        #[arg(long)]
        no_demo: bool,
        /// Install and compile nothing: the programs beside this one are taken as they are
        #[arg(long)]
        no_setup: bool,
    },
    /// Stop everything that `up` started
    Down,
    /// Install and build everything, start nothing
    Setup {
        /// Also what the tests need
        #[arg(long)]
        tests: bool,
    },
    /// Show the health of each part
    Status,
    /// Say what is wrong and the command that mends it
    Doctor,
    #[command(about = logs::about())]
    Logs {
        /// Which log
        name: String,
        /// Go on with what is added
        #[arg(short, long)]
        follow: bool,
        /// How many lines to begin with
        #[arg(short = 'n', long, default_value_t = 50)]
        lines: usize,
    },
    /// Bring a database to the current schema
    Migrate {
        /// Owner's connection string; this installation's database when left out
        #[arg(long)]
        database_url: Option<String>,
    },
    /// Print the whole schema as one SQL script
    Schema,
    /// Print a JWT for the role's own account
    Token {
        #[arg(long)]
        role: Role,
        /// How long it is valid, a year at most
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=token::MOST_HOURS))]
        hours: u32,
    },
    /// Agents
    #[command(subcommand)]
    Agent(Agent),
    /// Accounts of people
    #[command(subcommand)]
    User(User),
    /// Messages on their way outside: list, replay, purge
    #[command(subcommand)]
    Outbox(outbox::Outbox),
    /// Stop everything: nothing is handed out and no money spent until `resume`
    Stop(stop::Stop),
    /// Pause one agent, service, run or task
    Pause(stop::Pause),
    /// Let everything go on, or what was paused
    Resume(stop::Resume),
    /// Run the main job (a pull request becomes a task, an agent finishes it), then spend a budget
    /// to its end
    Demo,
    /// Stand in for the system outside of a bridge (what `up` starts as long as none is chosen)
    #[command(hide = true)]
    StandIn {
        /// The bridge
        bridge: String,
        #[arg(long)]
        port: u16,
    },
    /// Run a command with a PostgreSQL that has assertions (what `make test-assertions` does)
    #[command(hide = true)]
    WithAssertions {
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Own the servers (what `up` starts in the background)
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        echo: bool,
    },
}

#[derive(Subcommand)]
enum Agent {
    /// Register an agent and print its key, which is shown only now
    Register {
        #[arg(value_parser = names::name)]
        name: String,
        /// What it can do; may be given several times
        #[arg(long = "capability", value_parser = names::name)]
        capabilities: Vec<String>,
    },
}

#[derive(Subcommand)]
enum User {
    /// Add an account, or change an account's role
    Add {
        #[arg(value_parser = names::email)]
        email: String,
        #[arg(long)]
        role: Role,
        /// Read the password from standard input instead of making one up
        #[arg(long)]
        password_stdin: bool,
    },
}

fn main() -> ExitCode {
    // What is private has a mode of its own. The rest must be readable for the servers' users, also
    // when a narrow umask would close it.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    let done = match Arguments::parse().command {
        // It brings a runtime of its own, on this thread.
        Command::Supervise { echo } => Layout::find().and_then(|it| supervisor::run(&it, echo)),
        command => run(command),
    };
    match done {
        Ok(()) if output::failure().is_some() => {
            let why = output::failure().unwrap_or_default();
            warn!("devart: not everything could be printed: {why}");
            ExitCode::FAILURE
        }
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes in one sentence; a backtrace would help nobody here.
            warn!("devart: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> Result<()> {
    match command {
        Command::Up {
            foreground,
            no_demo,
            no_setup,
        } => {
            up::run(
                &Layout::find()?,
                up::Options {
                    foreground,
                    demo: !no_demo,
                    setup: !no_setup,
                },
            )
            .await
        }
        Command::Down => down::run(&Layout::find()?),
        Command::Setup { tests } => setup::run(&Layout::find()?, tests).map(drop),
        Command::Status => status::run(&Layout::find()?).await,
        Command::Doctor => doctor::run(&Layout::find()?).await,
        Command::Logs {
            name,
            follow,
            lines,
        } => logs::show(&Layout::find()?, &name, lines, follow),
        Command::Migrate { database_url } => migrate::run(database_url).await,
        Command::Schema => print_schema(),
        Command::Token { role, hours } => print(token::make(&Layout::find()?, role, hours).await),
        Command::Agent(Agent::Register { name, capabilities }) => {
            print(agent::register(&Layout::find()?, &name, &capabilities).await)
        }
        Command::User(User::Add {
            email,
            role,
            password_stdin,
        }) => user::add(&Layout::find()?, &email, role, password_stdin).await,
        Command::Outbox(command) => outbox::run(command).await,
        Command::Stop(it) => stop::stop(&it).await,
        Command::Pause(it) => stop::pause(&it).await,
        Command::Resume(it) => stop::resume(&it).await,
        Command::Demo => demo::run(&Layout::find()?).await,
        Command::WithAssertions { command } => with_assertions::run(&Layout::find()?, &command),
        Command::StandIn { bridge, port } => stand_in::run(&bridge, port).await,
        Command::Supervise { .. } => unreachable!("main runs it without this runtime"),
    }
}

fn print_schema() -> Result<()> {
    output::print(&devart_cli::migrate::script()?);
    Ok(())
}

fn print(line: Result<String>) -> Result<()> {
    say!("{}", line?);
    Ok(())
}
