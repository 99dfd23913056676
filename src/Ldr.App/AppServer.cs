using System.Net;
using System.Net.Sockets;
using System.Reflection;
using Ldr.App.Api;
using Ldr.App.Folders;
using Ldr.App.Jobs;
using Ldr.App.Sessions;
using Ldr.Runtime.Formats;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Ldr.App;

/// <summary>The page and its API on 127.0.0.1. It writes no log: names of files may be names of people.</summary>
public sealed class AppServer : IAsyncDisposable
{
    private const int MostConnections = 200;

    private readonly WebApplication app;
    private readonly SessionFolder session;
    private readonly JobQueue queue;
    private readonly ModelRack models;
    private readonly CancellationTokenSource ending;

    private AppServer(
        WebApplication app, SessionFolder session, JobQueue queue, ModelRack models, CancellationTokenSource ending, string token, bool isBuilt)
    {
        (this.app, this.session, this.queue, this.models, this.ending) = (app, session, queue, models, ending);
        Token = token;
        IsPageBuilt = isBuilt;
        Address = app.Urls.Single();
        Routes = [.. ((IEndpointRouteBuilder)app).DataSources.SelectMany(source => source.Endpoints).OfType<RouteEndpoint>()
            .Select(e => $"{e.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods[0]} {e.RoutePattern.RawText}")];
    }

    /// <summary>Such as <c>http://127.0.0.1:8080</c>.</summary>
    public string Address { get; }

    /// <summary>What lets a client in: as <c>Authorization: Bearer TOKEN</c>, or in the link.</summary>
    public string Token { get; }

    /// <summary>The address of the page, with the token.</summary>
    public string Link => $"{Address}/?token={Token}";

    /// <summary>Whether the page was found; the API works without it.</summary>
    public bool IsPageBuilt { get; }

    /// <summary>The private folder with uploads and results.</summary>
    public string Folder => session.Path;

    /// <summary>Methods and patterns of the API.</summary>
    internal IReadOnlyList<string> Routes { get; }

    /// <summary>
    /// Loads and compiles what the first request needs, on another core, while the caller still reads its options: it starts a server
    /// that gives nothing, and asks it once.
    /// </summary>
    public static Task Prepare() => Task.Run(async () =>
    {
        WebApplication app = Build(new AppOptions());
        await using (app.ConfigureAwait(false))
        {
            app.UseRouting();
            app.MapGet("/", context => Gate.Refuse(context, 404, "there is nothing here"));
            await app.StartAsync().ConfigureAwait(false);
            using TcpClient client = new();
            await client.ConnectAsync(IPAddress.Loopback, new Uri(app.Urls.Single()).Port).ConfigureAwait(false);
            NetworkStream stream = client.GetStream();
            await stream.WriteAsync("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"u8.ToArray()).ConfigureAwait(false);
            await stream.CopyToAsync(Stream.Null).ConfigureAwait(false);
        }
    });

    /// <summary>Starts to listen.</summary>
    /// <param name="options">How.</param>
    /// <param name="cancellation">Stops the start.</param>
    /// <exception cref="InvalidFileException">A folder cannot be used.</exception>
    /// <exception cref="IOException">The port is in use.</exception>
    public static async Task<AppServer> StartAsync(AppOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        DataFolder? data = options.Folder is null ? null : new DataFolder(options.Folder);
        SessionFolder session = SessionFolder.Open(options.Session);
        Inbox inbox = new(session, data, options.MostUpload);
        inbox.Load();
        ModelRack models = new();

        // Beside the start of the server, which takes as long.
        Task<IReadOnlyList<ModelEntry>> entries = Task.Run(models.Entries, CancellationToken.None);
        JobQueue queue = new(session, inbox, models, options);
        CancellationTokenSource ending = new();
        PageFiles page = new(options.Page);
        string token = Gate.NewToken();
        Gate gate = new(token);
        WebApplication app = Build(options);
        app.Use(next => context => Answered(context, inbox, () => gate.Check(context, next)));
        app.UseRouting();
        async Task<About> About() => new(
            Assembly.GetExecutingAssembly().GetName().Version?.ToString(3) ?? string.Empty,
            data is not null,
            options.Folder is null ? null : Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(options.Folder))),
            options.Session is not null,
            options.Transforms.HasLists,
            options.MostUpload,
            await entries.ConfigureAwait(false));
        new Endpoints(About, inbox, queue, models, data, new ViewFiles(session, inbox), ending.Token).Map(app);
        app.MapFallback("{**path}", context => Static(context, page));
        try
        {
            await app.StartAsync(cancellation).ConfigureAwait(false);
        }
        catch
        {
            queue.Dispose();
            models.Dispose();
            session.Dispose();
            throw;
        }

        AppServer server = new(app, session, queue, models, ending, token, page.IsBuilt);
        gate.Open(new Uri(server.Address).Port);
        return server;
    }

    /// <summary>Writes a page into the private folder that leads to <see cref="Link"/>, so that the token is on no command line.</summary>
    /// <returns>The file, for a browser to open.</returns>
    public string WriteOpener()
    {
        string file = Path.Combine(session.Path, "open.html");
        AtomicFile.WriteText(
            file, $"<!doctype html><meta charset=\"utf-8\"><title>ldr-fs app</title><meta http-equiv=\"refresh\" content=\"0; url={Link}\">");
        return file;
    }

    /// <summary>Stops the job that runs, ends every connection, and removes the private folder.</summary>
    public async ValueTask DisposeAsync()
    {
        await ending.CancelAsync().ConfigureAwait(false);
        using CancellationTokenSource soon = new(TimeSpan.FromSeconds(2));
        await app.StopAsync(soon.Token).ConfigureAwait(false);
        await app.DisposeAsync().ConfigureAwait(false);
        queue.Dispose();
        models.Dispose();
        session.Dispose();
        ending.Dispose();
    }

    private static WebApplication Build(AppOptions options)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Listen(IPAddress.Loopback, options.Port, listen => listen.Protocols = HttpProtocols.Http1);
            kestrel.Limits.MaxConcurrentConnections = MostConnections;
            kestrel.Limits.MaxRequestBodySize = 64 << 10;
            kestrel.Limits.MaxRequestHeadersTotalSize = 16 << 10;
            kestrel.Limits.MaxRequestLineSize = 8 << 10;
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);
            kestrel.Limits.KeepAliveTimeout = TimeSpan.FromSeconds(60);
            kestrel.Limits.MinRequestBodyDataRate = new MinDataRate(1024, TimeSpan.FromSeconds(5));
        });
        builder.Services.AddRoutingCore();

        // Signals are the caller's.
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.Logging.ClearProviders();
        return builder.Build();
    }

    /// <summary>Every refusal is a line of JSON; faults of ours do not show where they are.</summary>
    private static async Task Answered(HttpContext context, Inbox inbox, Func<Task> work)
    {
        (int Status, string Line)? refused = null;
        try
        {
            await work().ConfigureAwait(false);
        }
        catch (ApiException error)
        {
            refused = (error.Status, error.Message);
        }
        catch (InvalidFileException error)
        {
            refused = (422, inbox.Line(error));
        }
        catch (Microsoft.AspNetCore.Http.BadHttpRequestException error)
        {
            refused = (error.StatusCode, error.StatusCode == 413 ? "the body is too long" : "the request is damaged");
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            return;
        }
        catch (Exception error) when (error is IOException or ArgumentException or InvalidOperationException or OutOfMemoryException)
        {
            refused = (500, $"a fault of ours: {error.GetType().Name}; please report it");
        }

        if (refused is (int status, string line) && !context.Response.HasStarted)
        {
            context.Response.Headers.ContentDisposition = default;
            context.Response.ContentLength = null;
            await Gate.Refuse(context, status, line).ConfigureAwait(false);
        }
    }

    private static async Task Static(HttpContext context, PageFiles page)
    {
        if (!HttpMethods.IsGet(context.Request.Method))
        {
            throw new ApiException(405, "there is nothing here that takes this");
        }

        string path = context.Request.Path.Value ?? string.Empty;
        if (page.Find(path) is (string file, string type))
        {
            context.Response.ContentType = type;
            await context.Response.SendFileAsync(file, context.RequestAborted).ConfigureAwait(false);
        }
        else if (path == "/")
        {
            context.Response.ContentType = "text/html; charset=utf-8";
            await context.Response.Body.WriteAsync(Gate.Resource("unbuilt.html"), context.RequestAborted).ConfigureAwait(false);
        }
        else
        {
            throw ApiException.NotFound("there is nothing here");
        }
    }

    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
