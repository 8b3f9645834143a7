//! An agent that is a shell script, in a home.

use std::path::Path;

/// Puts an agent for conversations into a home, before treefort starts there: `/NAME.sh`, run by `/busybox sh`,
/// beside `files`.
pub(crate) fn install(home: &Path, name: &str, script: &str, files: &[(&str, &Path)]) {
    let folder = home.join("agents").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let manifest = format!(
        "name = \"{name}\"\ntitle = \"{name}\"\ndescription = \"Of a test.\"\nversion = \"1\"\n\
         argv = [\"/busybox\", \"sh\", \"/{name}.sh\"]\nkinds = [5050]\nworkspace = false\n\
         history = \"prompt\"\ngrace_s = 1\n[image]\ndockerfile = \"Dockerfile\"\n"
    );
    let busybox = crate::sandbox::busybox();
    let mut copied = vec![("busybox", busybox.as_path())];
    copied.extend(files);
    let mut manifest = manifest;
    manifest.push_str(&format!(
        "[embedded]\nsystem = false\nfiles = {{ \"{name}.sh\" = \"/{name}.sh\" }}\n[embedded.reads]\n"
    ));
    for (file, _) in &copied {
        manifest.push_str(&format!("{:?} = \"/{file}\"\n", folder.join(file)));
    }
    let mut dockerfile =
        format!("FROM scratch\nCOPY treefort /treefort\nCOPY {name}.sh /{name}.sh\n");
    for (file, from) in copied {
        std::fs::copy(from, folder.join(file)).unwrap();
        dockerfile.push_str(&format!("COPY {file} /{file}\n"));
    }
    dockerfile.push_str("USER 1000:1000\nENTRYPOINT [\"/treefort\", \"sandbox-init\", \"--\"]\n");
    std::fs::write(folder.join("agent.toml"), manifest).unwrap();
    std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    std::fs::write(folder.join(format!("{name}.sh")), script).unwrap();
}
