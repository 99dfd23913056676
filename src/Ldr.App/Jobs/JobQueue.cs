using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Threading.Channels;
using Ldr.App.Api;
using Ldr.App.Sessions;
using Ldr.Runtime.Formats;

namespace Ldr.App.Jobs;

/// <summary>
/// The list of jobs. One runs at a time, since each uses every core; the others wait in the order in which they came. Whoever listens is
/// told of every change.
/// </summary>
internal sealed class JobQueue : IDisposable
{
    private const string Interrupted = "the program was ended before the job was done";

    private readonly Lock gate = new();
    private readonly Dictionary<string, Job> jobs = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, CancellationTokenSource> stops = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<Channel<Job>, bool> listeners = new();
    private readonly Channel<string> waiting = Channel.CreateUnbounded<string>();
    private readonly CancellationTokenSource ending = new();
    private readonly SessionFolder session;
    private readonly Inbox inbox;
    private readonly ModelRack models;
    private readonly AppOptions options;
    private readonly Task worker;
    private int last;

    public JobQueue(SessionFolder session, Inbox inbox, ModelRack models, AppOptions options)
    {
        (this.session, this.inbox, this.models, this.options) = (session, inbox, models, options);
        Load();
        worker = Task.Factory.StartNew(Work, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>Every job, the first one posted first.</summary>
    public IReadOnlyList<Job> All
    {
        get
        {
            lock (gate)
            {
                return [.. jobs.Values.OrderBy(job => job.Number)];
            }
        }
    }

    /// <summary>The job of an id.</summary>
    /// <exception cref="ApiException">There is none.</exception>
    public Job Get(string id)
    {
        lock (gate)
        {
            return jobs.TryGetValue(id, out Job? job) ? job : throw ApiException.NotFound("there is no such job");
        }
    }

    /// <summary>The folder of a job that is done.</summary>
    /// <exception cref="ApiException">It is not done.</exception>
    public (Job Job, JobFolder Folder) Done(string id)
    {
        Job job = Get(id);
        return job.State == JobState.Done ? (job, FolderOf(id)) : throw ApiException.Conflict("the job is not done");
    }

    /// <summary>The folder of a job that has a layer; that of the moved scan is there before the job is done.</summary>
    /// <exception cref="ApiException">It is not done, and has no such layer yet.</exception>
    public (Job Job, JobFolder Folder) WithLayer(string id, string layer) =>
        Get(id) is { Layers: var layers } job && layers.Contains(layer) ? (job, FolderOf(id)) : Done(id);

    /// <summary>Puts a job at the end of the list.</summary>
    /// <exception cref="ApiException">Its options are wrong, a file is not there, or too many jobs wait.</exception>
    public Job Post(JobRequest request)
    {
        request.Check();
        models.Check(request.WantedModel);
        JobFile fixedScan = Scan(request.Fixed, "fixed");
        JobFile moving = Scan(request.Moving, "moving");
        CheckFiles(request);
        Job job;
        lock (gate)
        {
            if (jobs.Values.Count(job => !job.IsOver) > options.MostWaiting)
            {
                throw ApiException.Busy($"{options.MostWaiting} jobs wait already; wait, or cancel one");
            }

            job = new Job
            {
                Id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8)),
                Number = ++last,
                Posted = DateTimeOffset.UtcNow,
                Fixed = fixedScan,
                Moving = moving,
                Request = request,
            };
            stops[job.Id] = CancellationTokenSource.CreateLinkedTokenSource(ending.Token);
            jobs[job.Id] = job;
        }

        Keep(job);
        waiting.Writer.TryWrite(job.Id);
        return job;
    }

    /// <summary>Cancels a job that waits or runs; removes one that is over, with its files.</summary>
    public Job CancelOrRemove(string id)
    {
        Job job;
        lock (gate)
        {
            job = Get(id);
            if (job.IsOver)
            {
                jobs.Remove(id);
            }
            else if (job.State == JobState.Queued)
            {
                jobs[id] = job = job with { State = JobState.Cancelled, Stage = null };
            }
        }

        if (stops.TryGetValue(id, out CancellationTokenSource? stop))
        {
            stop.Cancel();
        }

        if (!jobs.ContainsKey(id))
        {
            FolderOf(id).Remove();
        }
        else if (job.IsOver)
        {
            Keep(job);
        }

        return job;
    }

    /// <summary>Hears of changes until it is disposed of; slow listeners lose the oldest.</summary>
    public (ChannelReader<Job> Changes, IDisposable Stop) Listen()
    {
        Channel<Job> channel = Channel.CreateBounded<Job>(
            new BoundedChannelOptions(256) { FullMode = BoundedChannelFullMode.DropOldest });
        listeners[channel] = true;
        return (channel.Reader, new Listener(() => listeners.TryRemove(channel, out _)));
    }

    /// <summary>Stops the job that runs, and waits for its end.</summary>
    public void Dispose()
    {
        ending.Cancel();
        waiting.Writer.TryComplete();
        worker.Wait();
        ending.Dispose();
    }

    private JobFile Scan(string id, string key) => inbox.Get(id) is { Role: FileRole.Image } file
        ? new JobFile(id, file.Name)
        : throw ApiException.Bad($"{key}: is no image");

    private void CheckFiles(JobRequest request)
    {
        void Check(string? id, FileRole role, string key)
        {
            if (id is not null && inbox.Get(id).Role != role)
            {
                throw ApiException.Bad($"{key}: is no file of {(role == FileRole.Points ? "points" : "an image")}");
            }
        }

        Check(request.Labels, FileRole.Image, "labels");
        Check(request.FixedLabels, FileRole.Image, "fixed_labels");
        Check(request.FixedMask, FileRole.Image, "fixed_mask");
        Check(request.MovingMask, FileRole.Image, "moving_mask");
        Check(request.Points, FileRole.Points, "points");
        _ = request.Init is null ? null : inbox.Get(request.Init);
    }

    private JobFolder FolderOf(string id) => new(Path.Combine(session.Jobs, id), inbox, options.Transforms);

    private void Load()
    {
        foreach (string path in Directory.EnumerateDirectories(session.Jobs))
        {
            JobFolder folder = FolderOf(Path.GetFileName(path));
            if (folder.Read() is not Job job || job.Id != Path.GetFileName(path))
            {
                folder.Remove();
                continue;
            }

            job = job.IsOver ? job : job with { State = JobState.Failed, Stage = null, Error = Interrupted };
            jobs[job.Id] = job;
            last = Math.Max(last, job.Number);
        }
    }

    /// <summary>Remembers a job's state, on disk too, and tells those who listen.</summary>
    private void Keep(Job job)
    {
        lock (gate)
        {
            if (!jobs.TryGetValue(job.Id, out Job? known) || (known.IsOver && !job.IsOver))
            {
                return;
            }

            jobs[job.Id] = job;
        }

        if (job.IsOver || job.State == JobState.Queued)
        {
            FolderOf(job.Id).Write(job);
        }

        foreach (Channel<Job> listener in listeners.Keys)
        {
            listener.Writer.TryWrite(job);
        }
    }

    private void Work()
    {
        JobRunner runner = new(inbox, models, options.Transforms);
        while (waiting.Reader.WaitToReadAsync().AsTask().Result)
        {
            while (waiting.Reader.TryRead(out string? id))
            {
                Run(runner, id);
            }
        }
    }

    private void Run(JobRunner runner, string id)
    {
        Job? job;
        lock (gate)
        {
            if (!jobs.TryGetValue(id, out job) || job.IsOver || ending.IsCancellationRequested)
            {
                return;
            }
        }

        job = job with { State = JobState.Running };
        CancellationToken stop = stops[id].Token;
        try
        {
            runner.Run(job, FolderOf(id), Keep, stop);
        }
        catch (Exception error) when (Get(id).State == JobState.Done)
        {
            // The result is there; only the report is not.
            _ = error;
        }
        catch (OperationCanceledException)
        {
            Keep(job with { State = JobState.Cancelled });
        }
        catch (Exception error)
        {
            Keep(job with { State = JobState.Failed, Error = LineOf(error) });
        }
        finally
        {
            if (stops.TryRemove(id, out CancellationTokenSource? source))
            {
                source.Dispose();
            }
        }
    }

    private string LineOf(Exception error) => error switch
    {
        InvalidFileException bad => inbox.Line(bad),
        ApiException or ArgumentException => error.Message.Split('\n')[0],
        OutOfMemoryException => "this machine has too little memory for the pair; take coarser or smaller scans",
        _ => $"a fault of ours: {error.Message.Split('\n')[0]}; please report it",
    };

    private sealed class Listener(Action stop) : IDisposable
    {
        public void Dispose() => stop();
    }
}
