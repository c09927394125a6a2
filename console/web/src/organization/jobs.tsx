import { useState } from "react";
import { Link, Outlet, useParams } from "react-router";

import { useAsOf, useKeepDay } from "../app/asof";
import { useRights } from "../app/session";
import { useTexts } from "../i18n";
import { formatDay } from "../lib/day";
import { ButtonLink } from "../ui/button";
import { TextInput } from "../ui/fields";
import { useFields } from "../ui/fields-state";
import { Badge, Empty, Loaded } from "../ui/page";
import { createJob, type Job, retireJob, retitleJob, useJobs } from "./data";
import { FromDay, OrganizationPage } from "./tabs";

const LIST = "/organization/jobs";

export function Jobs() {
  const { say, language } = useTexts();
  const keep = useKeepDay();
  const may = useRights().changes("directory");
  const [asOf] = useAsOf();
  const jobs = useJobs(asOf);
  return (
    <OrganizationPage title={say("jobs")} actions={may && <ButtonLink kind="main" to={keep(`${LIST}/new`)}>{say("job.new")}</ButtonLink>}>
      <Loaded of={jobs}>
        {(all) =>
          all.length === 0 ? (
            <Empty>{say("jobs.none")}</Empty>
          ) : (
            <div className="scroll" tabIndex={0} role="region" aria-label={say("jobs")}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">{say("job.title")}</th>
                    <th scope="col">{say("code")}</th>
                    <th scope="col">{say("since")}</th>
                    {may && <th scope="col">{say("actions")}</th>}
                  </tr>
                </thead>
                <tbody>
                  {all.map((job) => (
                    <tr key={job.job_id}>
                      <th scope="row">
                        <Link to={keep(`/people?job=${job.job_id}`)}>{job.title}</Link>
                        {job.valid_to && <Badge kind="soft">{say("closed_on", { day: formatDay(job.valid_to, language) })}</Badge>}
                      </th>
                      <td className="code">{job.code}</td>
                      <td className="nowrap">{formatDay(job.valid_from, language)}</td>
                      {may && (
                        <td className="nowrap">
                          {!job.valid_to && (
                            <>
                              <Link className="rowcommand" to={keep(`${LIST}/${job.job_id}/title`)} aria-label={`${say("rename")}: ${job.title}`}>
                                {say("rename")}
                              </Link>{" "}
                              <Link className="rowcommand" to={keep(`${LIST}/${job.job_id}/retirement`)} aria-label={`${say("job.retire")}: ${job.title}`}>
                                {say("job.retire")}
                              </Link>
                            </>
                          )}
                        </td>
                      )}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
      <Outlet />
    </OrganizationPage>
  );
}

function useJob(): Job | undefined {
  const id = useParams()["id"];
  const [asOf] = useAsOf();
  return useJobs(asOf).data?.find((one) => one.job_id === id);
}

export function NewJob() {
  const { say } = useTexts();
  const [fields, set] = useFields({ code: "", title: "" });
  return (
    <FromDay title={say("job.new")} list={LIST} send={(key, day) => createJob(key, { effective_on: day, code: fields.code, title: fields.title })}>
      {() => (
        <>
          <TextInput name="/title" label={say("job.title")} required value={fields.title} onChange={set("title")} />
          <TextInput name="/code" label={say("code")} hint={say("code.hint")} required value={fields.code} onChange={set("code")} />
        </>
      )}
    </FromDay>
  );
}

export function RetitleJob() {
  const { say } = useTexts();
  const job = useJob();
  const [title, setTitle] = useState<string | null>(null);
  const shown = title ?? job?.title ?? "";
  return (
    <FromDay title={say("rename")} list={LIST} send={(key, day) => retitleJob(job?.job_id ?? "", key, { effective_on: day, title: shown })}>
      {() => <TextInput name="/title" label={say("job.title")} required value={shown} onChange={setTitle} />}
    </FromDay>
  );
}

export function RetireJob() {
  const { say, language } = useTexts();
  const job = useJob();
  return (
    <FromDay
      danger
      title={say("job.retire")}
      list={LIST}
      send={(key, day) => retireJob(job?.job_id ?? "", key, { effective_on: day })}
      follows={(day) => say("job.retire.follows", { name: job?.title ?? "", day: formatDay(day, language) })}
    />
  );
}
