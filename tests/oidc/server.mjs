// A real OpenID Connect server with one client, whose access tokens are JWTs. Prints where it listens; /jwks-count says
// how often its keys were asked for.
import http from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const jwk = (type, options, alg) => {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg };
};
// A resource's name says how its tokens are signed and what they grant.
const resources = {
  'urn:rs': { alg: 'RS256', roles: ['people-admin', 'canteen'] },
  'urn:es': { alg: 'ES256', roles: ['people-admin'] },
  // Of as long a life as a provider's configuration may ask for.
  'urn:long': { alg: 'RS256', roles: ['people-admin'], lifetime: 86400 },
  'urn:none': { alg: 'RS256', roles: ['canteen'] },
};
let keysAsked = 0;
const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks: { keys: [jwk('rsa', { modulusLength: 2048 }, 'RS256'), jwk('ec', { namedCurve: 'P-256' }, 'ES256')] },
    clients: [{ client_id: 'console', client_secret: 'console-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: 'hr', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: resources[resource].lifetime ?? 600, jwt: { sign: { alg: resources[resource].alg } },
        }),
      },
    },
    extraTokenClaims: (ctx, token) => ({ realm_access: { roles: resources[token.aud].roles } }),
  });
  const answer = provider.callback();
  server.on('request', (request, response) => {
    if (request.url === '/jwks-count') return response.end(String(keysAsked));
    if (request.url === '/jwks') keysAsked += 1;
    return answer(request, response);
  });
  console.log(JSON.stringify({ issuer }));
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
