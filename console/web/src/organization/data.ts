import { useQuery } from "@tanstack/react-query";

import { commands, data, queries } from "../api/client";
import type { components as CommandTypes } from "../api/commands";
import type { components } from "../api/queries";
import type { Day } from "../lib/day";
import type { Choice } from "../ui/fields";

export type Department = components["schemas"]["Department"];
export type Job = components["schemas"]["Job"];
export type Location = components["schemas"]["Location"];
export type ChartNode = components["schemas"]["ChartNode"];
type Bodies = CommandTypes["schemas"];

/** Pages of 200 until there are no more; a hundred of them at most, which is 20,000 rows. */
async function all<T>(page: (cursor: string | undefined) => Promise<{ items: T[]; next_cursor?: string | null }>): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  for (let pages = 0; pages < 100; pages++) {
    const answer = await page(cursor);
    items.push(...answer.items);
    if (!answer.next_cursor) break;
    cursor = answer.next_cursor;
  }
  return items;
}

const on = (asOf: Day | undefined, cursor: string | undefined) => ({ limit: 200, ...(asOf ? { as_of: asOf } : {}), ...(cursor ? { cursor } : {}) });

export function useDepartments(asOf: Day | undefined) {
  return useQuery({
    queryKey: ["departments", asOf],
    queryFn: ({ signal }) => all((cursor) => data(queries.GET("/v1/departments", { params: { query: on(asOf, cursor) }, signal }))),
  });
}

export function useJobs(asOf: Day | undefined) {
  return useQuery({
    queryKey: ["jobs", asOf],
    queryFn: ({ signal }) => all((cursor) => data(queries.GET("/v1/jobs", { params: { query: on(asOf, cursor) }, signal }))),
  });
}

export function useLocations(asOf: Day | undefined) {
  return useQuery({
    queryKey: ["locations", asOf],
    queryFn: ({ signal }) => all((cursor) => data(queries.GET("/v1/locations", { params: { query: on(asOf, cursor) }, signal }))),
  });
}

export function useChart(asOf: Day | undefined, root: string | undefined, depth: number) {
  return useQuery({
    queryKey: ["chart", asOf, root, depth],
    queryFn: ({ signal }) => {
      const query = { depth, limit: 1000, ...(asOf ? { as_of: asOf } : {}), ...(root ? { root } : {}) };
      return data(queries.GET("/v1/org-chart", { params: { query }, signal }));
    },
  });
}

/** What one can be assigned to: what is closed by that day can't be. */
export function departmentChoices(departments: Department[] | undefined): Choice[] {
  const open = (departments ?? []).filter((one) => !one.valid_to);
  return open.map((one) => ({ id: one.department_id, label: one.name, hint: (one.path ?? []).slice(0, -1).join(" › ") || one.code }));
}
export function jobChoices(jobs: Job[] | undefined): Choice[] {
  return (jobs ?? []).filter((one) => !one.valid_to).map((one) => ({ id: one.job_id, label: one.title, hint: one.code }));
}
export function locationChoices(locations: Location[] | undefined): Choice[] {
  return (locations ?? []).filter((one) => !one.valid_to).map((one) => ({ id: one.location_id, label: one.name, hint: one.time_zone }));
}

const keyed = (key: string) => ({ header: { "Idempotency-Key": key } });
const sent = (id: string, key: string) => ({ path: { id }, ...keyed(key) });

export const createDepartment = (key: string, body: Bodies["CreateDepartment"]) => data(commands.POST("/v1/departments", { params: keyed(key), body }));
export const renameDepartment = (id: string, key: string, body: Omit<Bodies["RenameDepartment"], "department_id">) =>
  data(commands.POST("/v1/departments/{id}/name", { params: sent(id, key), body }));
export const moveDepartment = (id: string, key: string, body: Omit<Bodies["MoveDepartment"], "department_id">) =>
  data(commands.POST("/v1/departments/{id}/parent", { params: sent(id, key), body }));
export const closeDepartment = (id: string, key: string, body: Omit<Bodies["CloseDepartment"], "department_id">) =>
  data(commands.POST("/v1/departments/{id}/closure", { params: sent(id, key), body }));
export const createJob = (key: string, body: Bodies["CreateJob"]) => data(commands.POST("/v1/jobs", { params: keyed(key), body }));
export const retitleJob = (id: string, key: string, body: Omit<Bodies["RetitleJob"], "job_id">) =>
  data(commands.POST("/v1/jobs/{id}/title", { params: sent(id, key), body }));
export const retireJob = (id: string, key: string, body: Omit<Bodies["RetireJob"], "job_id">) =>
  data(commands.POST("/v1/jobs/{id}/retirement", { params: sent(id, key), body }));
export const openLocation = (key: string, body: Bodies["OpenLocation"]) => data(commands.POST("/v1/locations", { params: keyed(key), body }));
export const changeLocation = (id: string, key: string, body: Omit<Bodies["ChangeLocation"], "location_id">) =>
  data(commands.POST("/v1/locations/{id}/changes", { params: sent(id, key), body }));
export const closeLocation = (id: string, key: string, body: Omit<Bodies["CloseLocation"], "location_id">) =>
  data(commands.POST("/v1/locations/{id}/closure", { params: sent(id, key), body }));
