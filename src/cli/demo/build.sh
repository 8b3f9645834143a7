# Build a page for a treehouse (this is the demo's script, no model)
cat > index.html <<'HTML'
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The treehouse</title>
<link rel="stylesheet" href="style.css">
<main>
  <div class="tree" aria-hidden="true"><i></i><i></i><i></i><b></b></div>
  <h1>The treehouse</h1>
  <p>Built by a script, in a copy of an empty folder. Nothing outside of it was touched.</p>
  <ul>
    <li>Undo brings back any moment of it.</li>
    <li>Apply would take it home.</li>
    <li>Every step is written down.</li>
  </ul>
</main>
HTML
cat > style.css <<'CSS'
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #eaf4e4; color: #26361f;
  font: 1.1rem/1.6 system-ui, sans-serif; }
main { max-width: 30rem; padding: 2rem; text-align: center; }
ul { list-style: none; padding: 0; }
.tree { position: relative; width: 12rem; height: 12rem; margin: 0 auto; }
.tree i { position: absolute; border-radius: 50%; background: #4d8b3f; width: 7rem; height: 7rem; }
.tree i:nth-child(1) { left: 0; top: 2rem; }
.tree i:nth-child(2) { right: 0; top: 2rem; }
.tree i:nth-child(3) { left: 2.5rem; top: 0; }
.tree b { position: absolute; left: 5.4rem; bottom: 0; width: 1.2rem; height: 6rem; background: #8a5a33; }
CSS
echo "Two files: index.html and style.css."
ls -l
