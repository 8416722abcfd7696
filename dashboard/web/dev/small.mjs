// The small pages as the Go package writes them, for looking at their style.

const page = (title, content) => ({ title, main: `<main class="page-small"><p class="brand">Halfmask</p><h1>${title}</h1>${content}</main>` });

export const smallPages = {
  login: page("Log in", `<p class="error" role="alert">The name or the password is wrong.</p>
<form class="stack" method="post"><label>Name <input name="name" autocomplete="username" required></label>
<label>Password <input type="password" name="password" autocomplete="current-password" required></label>
<button class="primary">Log in</button></form>
<p class="hint">First time here? Open the setup link that <code>halfmask serve</code> printed when it started.</p>`),
  setup: page("Welcome", `<p>Choose the name and password of the first user. This page works once.</p>
<form class="stack" method="post"><label>Name <input name="name" autocomplete="username" required></label>
<label>Password <input type="password" autocomplete="new-password" required aria-describedby="rule"></label>
<p class="hint" id="rule">At least 10 characters, any of them. A few unrelated words do well.</p>
<label>The same password again <input type="password" autocomplete="new-password" required></label>
<button class="primary">Create the user</button></form>`),
  account: page("Your account", `<p class="notice" role="status">Your password was changed. Every other browser was logged out.</p>
<p>You are logged in as <strong>ada</strong>. <a href="/">Back to the numbers</a></p>
<h2>Change your password</h2><form class="stack" method="post"><label>Current password <input type="password"></label><label>New password <input type="password"></label>
<p class="hint">At least 10 characters, any of them. Every other browser is logged out.</p><button class="primary">Change the password</button></form>
<h2>Log out</h2><form class="stack" method="post"><button>Log out here</button></form><form class="stack" method="post"><button>Log out in every browser</button></form>`),
  welcome: page("Add your first site", `<p>There is no site yet. Run this where Halfmask runs, with your site's domain:</p>
<pre><code>halfmask site add example.com</code></pre><p>It prints the line to paste into every page, before <code>&lt;/head&gt;</code>:</p>
<pre><code>&lt;script defer data-site="example.com" src="https://stats.example.com/js/hm.js"&gt;&lt;/script&gt;</code></pre><p><a href="/">Look again</a></p>`),
};
