// What the user sees of an issuer: a page to sign in, and one to consent. Both are plain forms.

const PASSWORDS = new Map([['ada', 'analytical'], ['grace', 'compiler']]);

// Shows the page that an authorization waits for, or takes what its form was answered with.
export async function interact(provider, request, response) {
  const interaction = await provider.interactionDetails(request, response);
  const page = { login, consent }[interaction.prompt.name];
  if (request.method === 'POST') {
    const result = await page.submit(await form(request), provider, interaction);
    if (result) return provider.interactionFinished(request, response, result);
  }
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
  response.end(`<!doctype html><title>${interaction.prompt.name}</title>
<form method="post" action="/interaction/${interaction.uid}">${page.show(interaction)}</form>`);
}

const login = {
  show: () => '<input name="name"><input name="password" type="password"><button>Sign in</button>',
  submit: async (form) => {
    const name = form.get('name');
    // With a wrong password the page is shown again.
    if (PASSWORDS.has(name) && PASSWORDS.get(name) === form.get('password')) {
      return { login: { accountId: name } };
    }
  },
};

const consent = {
  show: ({ prompt: { details } }) => Object.values(details.missingResourceScopes ?? {}).flat()
    .map((scope) => `<input name="scope" type="checkbox" value="${scope}">`)
    .join('') + '<button name="answer" value="allow">Allow</button>',
  submit: async (form, provider, { prompt: { details }, grantId, params, session }) => {
    if (form.get('answer') !== 'allow') {
      return { error: 'access_denied', error_description: 'the user refused' };
    }
    const ticked = form.getAll('scope');
    const grant = (grantId && await provider.Grant.find(grantId))
      || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    if (details.missingOIDCScope) grant.addOIDCScope(details.missingOIDCScope);
    for (const [api, scopes] of Object.entries(details.missingResourceScopes ?? {})) {
      for (const scope of scopes) {
        if (ticked.includes(scope)) grant.addResourceScope(api, scope);
        else grant.rejectResourceScope(api, scope);
      }
    }
    return { consent: { grantId: await grant.save() } };
  },
};

async function form(request) {
  const chunks = await request.toArray();
  return new URLSearchParams(Buffer.concat(chunks).toString());
}
