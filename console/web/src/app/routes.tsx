import { createBrowserRouter, type RouteObject } from "react-router";

import { NotFound, RouteError } from "./boundary";
import { Home, Shell } from "./shell";

type Pages = Record<string, () => React.ReactNode>;

/** A page whose code is loaded when it is opened. */
const page = (load: () => Promise<Pages>, name: string): Pick<RouteObject, "lazy"> => ({
  lazy: async () => {
    const Component = (await load())[name];
    sessionStorage.removeItem("tenure-reloaded");
    return Component ? { Component } : {};
  },
});

const employee = () => import("../employee/pages") as Promise<Pages>;
const organization = () => import("../organization/pages") as Promise<Pages>;
const reports = () => import("../reports/pages") as Promise<Pages>;
const identity = () => import("../identity/pages") as Promise<Pages>;
const tenancy = () => import("../tenancy/pages") as Promise<Pages>;

/** Every address of the console. What is indented opens as a sheet over the page above it. */
export const router = createBrowserRouter([
  { path: "/activation", errorElement: <RouteError />, ...page(identity, "Activation") },
  {
    path: "/",
    element: <Shell />,
    children: [
      {
        errorElement: <RouteError />,
        children: [
          { index: true, element: <Home /> },
          {
            path: "people",
            ...page(employee, "People"),
            children: [{ path: "hire", ...page(employee, "Hire") }],
          },
          {
            path: "people/:id",
            ...page(employee, "Person"),
            children: [
              { path: "pay", ...page(employee, "ChangePay") },
              { path: "assignment", ...page(employee, "ChangeAssignment") },
              { path: "personal", ...page(employee, "ChangePersonal") },
              { path: "contact", ...page(employee, "ChangeContact") },
              { path: "termination", ...page(employee, "Terminate") },
              { path: "rehire", ...page(employee, "Rehire") },
            ],
          },
          { path: "people/:id/events", ...page(employee, "Events") },
          {
            path: "organization/departments",
            ...page(organization, "Departments"),
            children: [
              { path: "new", ...page(organization, "NewDepartment") },
              { path: ":id/name", ...page(organization, "RenameDepartment") },
              { path: ":id/parent", ...page(organization, "MoveDepartment") },
              { path: ":id/closure", ...page(organization, "CloseDepartment") },
            ],
          },
          {
            path: "organization/jobs",
            ...page(organization, "Jobs"),
            children: [
              { path: "new", ...page(organization, "NewJob") },
              { path: ":id/title", ...page(organization, "RetitleJob") },
              { path: ":id/retirement", ...page(organization, "RetireJob") },
            ],
          },
          {
            path: "organization/locations",
            ...page(organization, "Locations"),
            children: [
              { path: "new", ...page(organization, "NewLocation") },
              { path: ":id/changes", ...page(organization, "ChangeLocation") },
              { path: ":id/closure", ...page(organization, "CloseLocation") },
            ],
          },
          { path: "organization/chart", ...page(organization, "Chart") },
          { path: "reports", ...page(reports, "Headcount") },
          {
            path: "administration/users",
            ...page(identity, "Users"),
            children: [
              { path: "invite", ...page(identity, "Invite") },
              { path: ":id/roles", ...page(identity, "ChangeRoles") },
            ],
          },
          { path: "administration/roles", ...page(identity, "Roles") },
          {
            path: "administration/delegations",
            ...page(identity, "Delegations"),
            children: [{ path: "new", ...page(identity, "Delegate") }],
          },
          {
            path: "administration/service-accounts",
            ...page(identity, "ServiceAccounts"),
            children: [{ path: "new", ...page(identity, "NewServiceAccount") }],
          },
          { path: "administration/audit", ...page(identity, "Audit") },
          {
            path: "account",
            ...page(identity, "Account"),
            children: [
              { path: "password", ...page(identity, "ChangePassword") },
              { path: "totp", ...page(identity, "Totp") },
            ],
          },
          {
            path: "operator",
            ...page(tenancy, "Tenants"),
            children: [
              { path: "new", ...page(tenancy, "Register") },
              { path: ":id/suspension", ...page(tenancy, "Suspend") },
              { path: ":id/resumption", ...page(tenancy, "Resume") },
              { path: ":id/name", ...page(tenancy, "Rename") },
              { path: ":id/time-zone", ...page(tenancy, "ChangeTimeZone") },
              { path: ":id/subscription", ...page(tenancy, "ChangeSubscription") },
              { path: ":id/closure", ...page(tenancy, "Close") },
            ],
          },
          { path: "*", element: <NotFound /> },
        ],
      },
    ],
  },
]);
