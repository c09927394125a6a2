export { Account, ChangePassword, Totp } from "./account";
export { Activation } from "./activation";
export { Audit } from "./audit";
export { Delegate, Delegations } from "./delegations";
export { Roles } from "./roles";
export { NewServiceAccount, ServiceAccounts } from "./service-accounts";
export { ChangeRoles, Invite, Users } from "./users";
