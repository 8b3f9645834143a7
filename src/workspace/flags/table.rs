//! The rules: which paths act by themselves, and when. Everything is lower case, as paths are before they are compared:
//! on a file system without case `MAKEFILE` is `Makefile`.

use super::Flag;

/// Which paths a rule is about; every list is separated by spaces.
pub(super) enum At {
    /// Files of these names, in any folder.
    Name(&'static str),
    /// Files whose names end so.
    Ending(&'static str),
    /// Files whose names begin so.
    Beginning(&'static str),
    /// Everything below folders of these names, wherever they are.
    Folder(&'static str),
    /// These paths, from the project's root.
    Path(&'static str),
}

/// One rule.
pub(super) struct Rule {
    pub(super) at: At,
    pub(super) flag: Flag,
}

const fn rule(flag: Flag, at: At) -> Rule {
    Rule { at, flag }
}

/// All rules; a path gets the flag of each that fits.
pub(super) const RULES: &[Rule] = &[
    // Hook managers point `core.hooksPath` at a folder of the work tree, or read what to run from a file.
    rule(
        Flag::GitHook,
        At::Folder(".husky .githooks .git-hooks githooks git-hooks .lefthook"),
    ),
    rule(
        Flag::GitHook,
        At::Name(
            ".pre-commit-config.yaml .pre-commit-config.yml .pre-commit-hooks.yaml lefthook.yml \
             lefthook.yaml lefthook.toml lefthook.json .lefthook.yml .lefthook.yaml \
             lefthook-local.yml .huskyrc .huskyrc.json .huskyrc.js .overcommit.yml .captainhook.json \
             captainhook.json grumphp.yml .simple-git-hooks.json .simple-git-hooks.js \
             .simple-git-hooks.cjs .lintstagedrc .lintstagedrc.json .lintstagedrc.js \
             lint-staged.config.js .czrc commitlint.config.js",
        ),
    ),
    // The names that git itself looks for, in whatever folder `core.hooksPath` may name.
    rule(
        Flag::GitHook,
        At::Name(
            "applypatch-msg pre-applypatch post-applypatch pre-commit pre-merge-commit \
             prepare-commit-msg commit-msg post-commit pre-rebase post-checkout post-merge pre-push \
             pre-receive post-receive update reference-transaction post-update push-to-checkout \
             pre-auto-gc post-rewrite sendemail-validate fsmonitor-watchman post-index-change",
        ),
    ),
    // Forges and build servers run these with their secrets.
    rule(
        Flag::Ci,
        At::Folder(
            ".github/workflows .github/actions .gitea/workflows .forgejo/workflows .circleci \
             .buildkite .woodpecker .gitlab/ci .teamcity .tekton .semaphore .concourse \
             .azure-pipelines .ci",
        ),
    ),
    rule(
        Flag::Ci,
        At::Name(
            ".gitlab-ci.yml .gitlab-ci.yaml jenkinsfile .travis.yml azure-pipelines.yml \
             azure-pipelines.yaml bitbucket-pipelines.yml .drone.yml .drone.star .woodpecker.yml \
             .woodpecker.yaml appveyor.yml .appveyor.yml .cirrus.yml .cirrus.star codemagic.yaml \
             bitrise.yml cloudbuild.yaml cloudbuild.yml buildspec.yml buildspec.yaml wercker.yml \
             .builds.yml .build.yml netlify.toml vercel.json renovate.json .renovaterc dependabot.yml \
             codeowners action.yml action.yaml .goreleaser.yml .goreleaser.yaml .releaserc fly.toml \
             render.yaml procfile app.json",
        ),
    ),
    rule(Flag::Ci, At::Beginning("jenkinsfile.")),
    // Shells with direnv, mise, asdf, autoenv or nix run these on entering the folder.
    rule(
        Flag::Envrc,
        At::Name(
            ".envrc .mise.toml mise.toml .mise.local.toml mise.local.toml .tool-versions .autoenv \
             .autoenv.zsh shell.nix devenv.nix .bashrc .zshrc .profile .bash_profile \
             .zshenv .zprofile .inputrc .rtx.toml",
        ),
    ),
    rule(Flag::Envrc, At::Folder(".mise .config/mise .direnv")),
    // Editors run tasks, debuggers, extensions and language servers from these.
    rule(
        Flag::Editor,
        At::Folder(
            ".vscode .vscode-server .idea .run .fleet .zed .vs .devcontainer .theia .nvim .vim .helix \
             .settings .eclipse .sublime .gitpod",
        ),
    ),
    rule(
        Flag::Editor,
        At::Name(
            ".devcontainer.json devcontainer.json .gitpod.yml .gitpod.dockerfile .exrc .nvimrc \
             .nvim.lua .vimrc .lvimrc .vimspector.json .dir-locals.el .dir-locals-2.el .projectile \
             .replit replit.nix .ycm_extra_conf.py .clangd .gdbinit .lldbinit .irbrc .pryrc .pdbrc \
             .rdebugrc",
        ),
    ),
    rule(
        Flag::Editor,
        At::Ending(".code-workspace .sublime-project .sublime-workspace .iml .suo"),
    ),
    // Build, install, test, lint and package commands run these.
    // Make and its like.
    rule(
        Flag::PackageScript,
        At::Name(
            "makefile gnumakefile bsdmakefile justfile .justfile taskfile.yml taskfile.yaml \
             taskfile.dist.yml rakefile tiltfile earthfile meson.build cmakelists.txt \
             cmakepresets.json cmakeuserpresets.json configure configure.ac build.ninja sconstruct \
             sconscript wscript build build.bazel workspace workspace.bazel module.bazel .bazelrc \
             buck .buckconfig please.build pants.toml magefile.go mage.go xmake.lua premake5.lua \
             build.sh build.bat build.ps1 build.cmd build.xml makefile.am makefile.in configure.in \
             meson.options meson_options.txt conanfile.py conanfile.txt vcpkg.json latexmkrc .latexmkrc \
             .ctags .proverc .perlcriticrc .luacheckrc .ackrc",
        ),
    ),
    // Rust.
    rule(
        Flag::PackageScript,
        At::Name("build.rs rust-toolchain rust-toolchain.toml cargo.toml"),
    ),
    // JavaScript.
    rule(
        Flag::PackageScript,
        At::Name(
            "package.json .npmrc .yarnrc .yarnrc.yml .pnpmfile.cjs .pnpmfile.mjs bunfig.toml \
             deno.json deno.jsonc binding.gyp lerna.json nx.json turbo.json gulpfile.js gruntfile.js \
              \
             karma.conf.js wdio.conf.js .node-version .nvmrc .pnp.cjs .pnp.js .pnp.loader.mjs \
             .pnp.data.json",
        ),
    ),
    // Python.
    rule(
        Flag::PackageScript,
        At::Name(
            "setup.py setup.cfg conftest.py pyproject.toml tox.ini noxfile.py tasks.py dodo.py \
             sitecustomize.py usercustomize.py manage.py pip.conf pip.ini requirements.txt pipfile \
             environment.yml environment.yaml .python-version .pypirc .pylintrc pylintrc mypy.ini .mypy.ini \
             pytest.ini .pytest.ini .coveragerc .flake8 .isort.cfg ruff.toml .ruff.toml .bandit \
             pyrightconfig.json .pythonrc .pythonstartup",
        ),
    ),
    // JVM.
    rule(
        Flag::PackageScript,
        At::Name(
            "gradlew gradlew.bat build.gradle build.gradle.kts settings.gradle settings.gradle.kts \
             init.gradle gradle.properties pom.xml mvnw mvnw.cmd build.sbt build.sc build.mill \
             project.clj deps.edn bb.edn build.boot",
        ),
    ),
    // Ruby, PHP, Perl, Elixir, Erlang, Haskell, OCaml, Lua, Go, Swift, .NET, Zig, Dart, R, Nix.
    rule(
        Flag::PackageScript,
        At::Name(
            "gemfile .gemrc .rspec composer.json makefile.pl build.pl mix.exs .iex.exs rebar.config \
             rebar.config.script setup.hs stack.yaml cabal.project dune dune-project .ocamlinit \
             go.work package.swift podfile fastfile appfile directory.build.props \
             directory.build.targets directory.build.rsp nuget.config global.json build.zig \
             build.zig.zon pubspec.yaml .rprofile .renviron flake.nix default.nix guix.scm \
             manifest.scm vagrantfile brewfile dangerfile .terraformrc terragrunt.hcl .ghci .octaverc startup.jl .rdata \
             .rubocop.yml .rubocop_todo.yml .simplecov gems.rb phpunit.xml phpunit.xml.dist \
             .phpunit.xml psalm.xml phpstan.neon phpstan.neon.dist .php-cs-fixer.php \
             .php-cs-fixer.dist.php rector.php .perltidyrc .credo.exs .formatter.exs .sqliterc .psqlrc",
        ),
    ),
    rule(
        Flag::PackageScript,
        At::Folder(
            ".cargo .mvn gradle/wrapper buildsrc .yarn/plugins .yarn/releases .yarn/sdks .yarn/unplugged .yarn/cache \
             .yarn/patches .ctags.d .bundle .mill",
        ),
    ),
    rule(
        Flag::PackageScript,
        At::Ending(
            ".mk .make .cmake .gradle .gradle.kts .gemspec .cabal .csproj .fsproj .vbproj .vcxproj \
             .sln .targets .props .pth .bzl .podspec .gyp .gypi .rake .config.js .config.cjs \
             .config.mjs .config.ts .config.mts .config.cts .m4 .am .rockspec .nimble .xcconfig .pbxproj",
        ),
    ),
    // Linters and compilers load plugins from these, by whatever ending they have.
    rule(
        Flag::PackageScript,
        At::Beginning(
            ".eslintrc .prettierrc .stylelintrc .babelrc .swcrc .mocharc .nycrc .postcssrc .remarkrc \
             tsconfig. tsconfig- jsconfig.",
        ),
    ),
    // What is downloaded, and from where.
    rule(
        Flag::Downloads,
        At::Name(
            "go.mod go.sum go.work.sum package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml \
             pnpm-workspace.yaml bun.lock bun.lockb deno.lock cargo.lock poetry.lock pdm.lock uv.lock \
             pipfile.lock pylock.toml constraints.txt conda-lock.yml pixi.lock gemfile.lock gems.locked \
             composer.lock mix.lock rebar.lock podfile.lock cartfile cartfile.resolved package.resolved \
             pubspec.lock flake.lock gradle.lockfile buildscript-gradle.lockfile \
             verification-metadata.xml libs.versions.toml packages.lock.json paket.lock \
             paket.dependencies conan.lock stack.yaml.lock cabal.project.freeze .terraform.lock.hcl \
             module.bazel.lock chart.lock",
        ),
    ),
    rule(
        Flag::Downloads,
        At::Beginning("requirements- requirements_"),
    ),
    rule(Flag::Environment, At::Name(".env .flaskenv")),
    rule(Flag::Environment, At::Beginning(".env.")),
    // Filters, diff and merge drivers, what is not seen, fetch addresses; the rest of `.git` never comes.
    rule(
        Flag::GitConfig,
        At::Name(
            ".gitattributes .gitmodules .gitconfig .gitignore .hgignore .ignore .git-blame-ignore-revs .lfsconfig .gitreview \
             .jjconfig.toml .hgrc",
        ),
    ),
    rule(Flag::GitConfig, At::Folder(".jj .hg .svn .sl")),
    rule(
        Flag::Container,
        At::Name(
            "dockerfile containerfile .dockerignore docker-compose.yml docker-compose.yaml \
             compose.yml compose.yaml docker-compose.override.yml compose.override.yaml \
             docker-bake.hcl docker-bake.json skaffold.yaml kustomization.yaml chart.yaml",
        ),
    ),
    rule(Flag::Container, At::Beginning("dockerfile. containerfile.")),
    rule(Flag::Container, At::Ending(".dockerfile .containerfile")),
    // Instructions and tools of later agents, perhaps of ones without a sandbox.
    rule(
        Flag::AgentInstructions,
        At::Name(
            "agents.md agents.override.md agent.md claude.md claude.local.md gemini.md qwen.md \
             crush.md opencode.md warp.md conventions.md .cursorrules .windsurfrules .clinerules \
             .roorules .goosehints .rules .aider.conf.yml .mcp.json mcp.json opencode.json \
             opencode.jsonc skill.md copilot-instructions.md .augment-guidelines .junie.md llms.txt",
        ),
    ),
    rule(
        Flag::AgentInstructions,
        At::Folder(
            ".claude .claude-plugin .codex .gemini .cursor .windsurf .opencode .clinerules .roo \
             .kilocode .goose .aider .continue .amazonq .qwen .crush .agents .github/instructions \
             .github/prompts .github/agents .github/chatmodes .kiro .junie .augment .trae .factory",
        ),
    ),
    rule(
        Flag::AgentInstructions,
        At::Path(".github/copilot-instructions.md"),
    ),
];
