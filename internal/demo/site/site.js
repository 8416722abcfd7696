// What the tea shop's own scripts would do: a menu that does not reload, a
// sign-up that is worth counting, and a banner that takes no for an answer.
'use strict'

const find = (selector) => document.querySelector(selector)

// The menu: each tea has an address of its own.
const menu = find('#menu')
if (menu) {
  const show = (slug) => {
    menu.classList.toggle('one', slug !== '')
    for (const article of menu.querySelectorAll('article')) article.hidden = slug !== '' && article.id !== slug
    for (const link of menu.querySelectorAll('a[data-tea]')) {
      if (link.dataset.tea === slug) link.setAttribute('aria-current', 'page')
      else link.removeAttribute('aria-current')
    }
    const name = slug && find(`#${slug} h2`).textContent
    document.title = `${name || 'Menu'} · ${menu.dataset.title}`
  }
  menu.addEventListener('click', (event) => {
    const link = event.target.closest('a[data-tea]')
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    event.preventDefault()
    if (link.pathname === location.pathname) return
    show(link.dataset.tea)
    history.pushState(null, '', link.href)
  })
  addEventListener('popstate', () => show(location.pathname.split('/')[2] || ''))
}

// The sign-up: one custom event with one property.
const signup = find('#signup')
if (signup) {
  signup.addEventListener('click', () => {
    window.halfmask?.('Signup', { props: { plan: 'free' } })
    signup.disabled = true
    find('#welcome').textContent = 'Welcome. The kettle is on.'
  })
}

// The choice: shown in the banner, in the footer and on the privacy page.
const BANNER = 'tea_banner'
const banner = find('#banner')
const counting = find('#counting')
const choice = find('#choice-buttons')

const remembered = () => {
  try {
    return localStorage.getItem(BANNER)
  } catch {
    return 'cannot'
  }
}

const remember = () => {
  try {
    localStorage.setItem(BANNER, 'answered')
  } catch {
    // The banner will ask again. Nothing is counted meanwhile.
  }
}

const say = (text, action, act) => {
  counting.firstElementChild.textContent = text
  const button = counting.querySelector('button')
  button.hidden = !action
  button.textContent = action || ''
  button.onclick = act
  const state = find('#choice-state')
  if (state) state.textContent = text
}

const refresh = () => {
  const script = window.halfmask
  const browserSaysNo = navigator.globalPrivacyControl || navigator.doNotTrack === '1'
  banner.hidden = true
  if (choice) choice.hidden = true
  if (!script?.optedOut) {
    say('The script did not load, so nothing is counted.')
    return
  }
  if (browserSaysNo) {
    say('Your browser asked not to be counted, so you are not.')
    return
  }
  if (remembered() === 'cannot') {
    say('Your browser remembers nothing, so nothing is counted.')
    return
  }
  const out = script.optedOut()
  banner.hidden = out || remembered() !== null || choice !== null // which asks the same
  document.body.classList.toggle('asking', !banner.hidden)
  if (out) say('You are not counted.', 'Count me again', () => decide(true))
  else say('You are counted, without cookies.', 'Do not count me', () => decide(false))
  if (choice) {
    choice.hidden = false
    find('#choice-yes').setAttribute('aria-pressed', String(!out))
    find('#choice-no').setAttribute('aria-pressed', String(out))
  }
}

const decide = (counted) => {
  if (counted) window.halfmask.optIn()
  else window.halfmask.optOut()
  remember()
  refresh()
}

find('#banner-ok').onclick = () => {
  remember()
  refresh()
}
find('#banner-no').onclick = () => decide(false)
if (choice) {
  find('#choice-yes').onclick = () => decide(true)
  find('#choice-no').onclick = () => decide(false)
}
addEventListener('storage', refresh) // another tab may have answered
addEventListener('pageshow', (event) => event.persisted && refresh())
refresh()
