import { useState } from "react";
import { useParams } from "react-router";

import { useAsOf } from "../app/asof";
import { useTexts } from "../i18n";
import { formatDay } from "../lib/day";
import { TextInput } from "../ui/fields";
import { useFields } from "../ui/fields-state";
import { createJob, type Job, retireJob, retitleJob, useJobs } from "./data";
import { FromDay } from "./tabs";
import { UnitList } from "./units";

const LIST = "/organization/jobs";

export function Jobs() {
  const { say } = useTexts();
  return (
    <UnitList
      list={LIST}
      title={say("jobs")}
      newLabel={say("job.new")}
      none={say("jobs.none")}
      nameLabel={say("job.title")}
      query={useJobs}
      rows={(all) =>
        all.map((job) => ({
          id: job.job_id,
          name: job.title,
          code: job.code,
          since: job.valid_from,
          until: job.valid_to,
          people: `/people?job=${job.job_id}`,
        }))
      }
      commands={[["title", say("rename")], ["retirement", say("job.retire")]]}
    />
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
