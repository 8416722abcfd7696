// The small pages as the Go package writes them, for looking at their style.

export const smallPages = {
  login: {
    title: "Log in",
    main: `<main class="page-small"><p class="brand">Halfmask</p><h1>Log in</h1>
<p class="error" role="alert">Name and password do not belong together. Try again, or ask whoever runs this server for a new password.</p>
<form class="stack" method="post"><label>Name<input type="text" name="name" autocomplete="username"></label>
<label>Password<input type="password" name="password" autocomplete="current-password"></label>
<button class="primary">Log in</button></form></main>`,
  },
  setup: {
    title: "Set up",
    main: `<main class="page-small"><p class="brand">Halfmask</p><h1>Make the first account</h1>
<p>This link works once. Whoever has this account sees every site of this server.</p>
<form class="stack" method="post"><label for="n">Name</label><input id="n" type="text" name="name" autocomplete="username">
<label for="p">Password</label><input id="p" type="password" name="password" autocomplete="new-password"><p class="hint">At least 10 characters. A sentence is easy to remember.</p>
<button class="primary">Make the account</button></form></main>`,
  },
  account: {
    title: "Account",
    main: `<main class="page-small"><p class="brand">Halfmask</p><h1>Account</h1><p class="hint">Logged in as ada.</p>
<h2>Change the password</h2><form class="stack" method="post"><label>Present password<input type="password"></label><label>New password<input type="password"></label><button class="primary">Change</button></form>
<h2>Log out</h2><form method="post"><button>Log out</button></form></main>`,
  },
};
